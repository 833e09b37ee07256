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


def test_stays_then_falls_at_the_end() -> None:
    config = TrainingConfig(steps=100, warmup=0.1, cooldown=0.2, schedule="wsd")
    shares = [learning_rate_share(step, config) for step in range(100)]
    assert shares[9:81] == [1.0] * 72
    assert shares[80:] == pytest.approx([(100 - step) / 20 for step in range(80, 100)])


def test_inverse_square_root_is_that_of_vaswani() -> None:
    """d_model^-0.5 min(step^-0.5, step warmup^-1.5), steps from 1, as a share of its value at the end of the warmup."""
    config = TrainingConfig(steps=1000, warmup=0.04, schedule="inverse_sqrt")
    for step in (1, 20, 40, 41, 160, 1000):
        rate = min(step**-0.5, step * 40**-1.5)
        assert learning_rate_share(step - 1, config) == pytest.approx(rate / 40**-0.5)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd", "inverse_sqrt"])
@pytest.mark.parametrize("cooldown", [0.0, 1.0])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 1.0), (5, 0.1), (2, 0.5), (3, 1.0)])
def test_short_runs(
    steps: int, warmup: float, cooldown: float, schedule: Literal["linear", "cosine", "wsd", "inverse_sqrt"]
) -> None:
    config = TrainingConfig(steps=steps, warmup=warmup, schedule=schedule, cooldown=cooldown)
    assert all(0 < learning_rate_share(step, config) <= 1 for step in range(steps))
