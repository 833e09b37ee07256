"""The settings that nobody gave: chosen by the size of the text and of the model."""

from __future__ import annotations

import math
from typing import Any

from onward.model.config import ModelConfig

DEFAULT_SIZE = "small"
DEFAULT_MINUTES = 3.0
_TOKENS_A_STEP = 4096


def default_vocab_size(n_bytes: int) -> int:
    """About a token for every thousand bytes of text, as a power of two from 512 to 16,384.

    >>> default_vocab_size(1_003_854)
    1024
    """
    return 1 << min(max(round(math.log2(max(n_bytes, 1) / 1000)), 9), 14)


def default_training(model: ModelConfig) -> dict[str, Any]:
    """Batch and learning rates for a model's shape."""
    return {
        "batch_size": max(_TOKENS_A_STEP // model.context_length, 1),
        "learning_rate": round(0.003 * math.sqrt(128 / model.d_model), 5),
    }
