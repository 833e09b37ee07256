"""The settings that nobody gave: chosen by the size of the text and of the model."""

from __future__ import annotations

import math
from typing import Any

from onward.model.config import ModelConfig

DEFAULT_SIZE = "small"
DEFAULT_MINUTES = 3.0
_TOKENS_A_STEP = 4096


def default_vocab_size(n_bytes: int) -> int:
    """About a token for every two thousand bytes of text, as a power of two from 512 to 16,384.

    >>> default_vocab_size(1_003_854)
    512
    """
    return 1 << min(max(round(math.log2(max(n_bytes, 1) / 2000)), 9), 14)


def default_training(model: ModelConfig, optimizer: str) -> dict[str, Any]:
    """Batch, learning rates and weight decay for a model's shape and its optimizer.

    Muon's steps have the same size at every width; AdamW's learning rates fall with the width's root.
    """
    by_width = math.sqrt(128 / model.d_model)
    values: dict[str, Any] = {"batch_size": max(_TOKENS_A_STEP // model.context_length, 1)}
    if optimizer == "adamw":
        values |= {"learning_rate": 0.003 * by_width, "weight_decay": 0.1}
    if not model.embed_norm:
        values |= {"embed_learning_rate": 0.003 * by_width}
    return values | {"unembed_learning_rate": 0.012 * by_width}
