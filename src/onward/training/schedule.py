"""The learning rate of each step, as a share of its peak."""

from __future__ import annotations

import math

from onward.training.config import TrainingConfig


def learning_rate_share(step: int, config: TrainingConfig) -> float:
    """Linear warmup from 0, then a cosine from 1 to `final_learning_rate` at the last step; steps count from 0.

    Source: Loshchilov and Hutter, SGDR, 2016, without restarts.

    >>> config = TrainingConfig(steps=100, warmup_steps=10, final_learning_rate=0.1)
    >>> [round(learning_rate_share(step, config), 2) for step in (0, 9, 10, 99)]
    [0.1, 1.0, 1.0, 0.1]
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(config.steps - 1 - config.warmup_steps, 1)
    cosine = (1 + math.cos(math.pi * min(progress, 1.0))) / 2
    return config.final_learning_rate + (1 - config.final_learning_rate) * cosine
