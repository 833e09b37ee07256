"""The learning rate of each step, as a share of its peak."""

from __future__ import annotations

import math

from onward.training.config import TrainingConfig


def learning_rate_share(step: int, config: TrainingConfig) -> float:
    """A linear rise from 0 over the warmup, then a fall along a line or a cosine; steps count from 0.

    Source of the cosine: Loshchilov and Hutter, SGDR, 2016, without restarts.

    >>> config = TrainingConfig(steps=100, warmup=0.1, final_learning_rate=0.0)
    >>> [round(learning_rate_share(step, config), 2) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.01]
    """
    warmup_steps = config.warmup * config.steps
    if step < warmup_steps:
        return min((step + 1) / warmup_steps, 1.0)
    progress = (step - warmup_steps) / max(config.steps - warmup_steps, 1.0)
    share_left = 1 - progress if config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return config.final_learning_rate + (1 - config.final_learning_rate) * share_left
