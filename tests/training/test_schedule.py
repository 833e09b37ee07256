from __future__ import annotations

import pytest

from onward.training.config import TrainingConfig
from onward.training.schedule import learning_rate_share


def test_warmup_rises_in_equal_steps_then_a_cosine_falls() -> None:
    config = TrainingConfig(steps=111, warmup_steps=10, final_learning_rate=0.2)
    shares = [learning_rate_share(step, config) for step in range(111)]
    assert shares[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert shares[10] == pytest.approx(1.0)
    assert shares[60] == pytest.approx(0.6)  # halfway: the mean of 1 and 0.2
    assert shares[110] == pytest.approx(0.2)
    assert shares[10:] == sorted(shares[10:], reverse=True)


@pytest.mark.parametrize(("steps", "warmup_steps"), [(1, 0), (1, 1), (5, 10), (2, 1)])
def test_short_runs(steps: int, warmup_steps: int) -> None:
    config = TrainingConfig(steps=steps, warmup_steps=warmup_steps)
    assert all(0 < learning_rate_share(step, config) <= 1 for step in range(steps))
