"""The learning rate of each step, as a share of its peak."""

from __future__ import annotations

import math

from onward.training.config import TrainingConfig


def learning_rate_share(step: int, config: TrainingConfig) -> float:
    """A linear rise from 0 over the warmup, then a fall in the way of the schedule; steps count from 0.

    | schedule     | after the warmup                                                                   |
    |--------------|------------------------------------------------------------------------------------|
    | linear       | along a line                                                                       |
    | cosine       | along half a cosine (Loshchilov and Hutter, SGDR, 2016, without restarts)          |
    | wsd          | at the peak, then along a line over the last share `cooldown` (Hu et al., MiniCPM) |
    | inverse_sqrt | with the square root of warmup / step (Vaswani et al., 2017, section 5.3)          |

    All but the last end at `final_learning_rate`, and nothing falls below it.

    >>> config = TrainingConfig(steps=100, warmup=0.1, final_learning_rate=0.0)
    >>> [round(learning_rate_share(step, config), 2) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.01]
    """
    warmup_steps = config.warmup * config.steps
    if step < warmup_steps:
        return min((step + 1) / warmup_steps, 1.0)
    progress = (step - warmup_steps) / max(config.steps - warmup_steps, 1.0)
    if config.schedule == "linear":
        share_left = 1 - progress
    elif config.schedule == "cosine":
        share_left = (1 + math.cos(math.pi * progress)) / 2
    elif config.schedule == "wsd":
        share_left = min((config.steps - step) / max(config.cooldown * config.steps, 1.0), 1.0)
    else:
        share_left = math.sqrt(max(warmup_steps, 1.0) / (step + 1))
    return config.final_learning_rate + (1 - config.final_learning_rate) * share_left
