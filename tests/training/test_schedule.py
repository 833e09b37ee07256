from __future__ import annotations

from typing import Literal

import pytest

from onward.training.config import TrainingConfig
from onward.training.schedule import learning_rate_share


@pytest.mark.parametrize(("schedule", "quarter"), [("linear", 0.8), ("cosine", 0.2 + 0.8 * (1 + 2**-0.5) / 2)])
def test_rises_in_equal_steps_then_falls(schedule: Literal["linear", "cosine"], quarter: float) -> None:
    config = TrainingConfig(steps=100, warmup=0.2, final_learning_rate=0.2, schedule=schedule)
    shares = [learning_rate_share(step, config) for step in range(100)]
    assert shares[:20] == pytest.approx([0.05 * step for step in range(1, 21)])
    assert shares[20] == pytest.approx(1.0)
    assert shares[40] == pytest.approx(quarter)
    assert shares[60] == pytest.approx(0.6)
    assert 0.2 < shares[99] < 0.22
    assert shares[20:] == sorted(shares[20:], reverse=True)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 1.0), (5, 0.1), (2, 0.5), (3, 1.0)])
def test_short_runs(steps: int, warmup: float) -> None:
    config = TrainingConfig(steps=steps, warmup=warmup)
    assert all(0 < learning_rate_share(step, config) <= 1 for step in range(steps))
