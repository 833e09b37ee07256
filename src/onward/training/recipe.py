"""The settings that nobody gave: chosen by the size of the text and of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from onward.errors import TokenizerError
from onward.model.config import ModelConfig
from onward.tokenizer import Tokenizer, simple
from onward.training.config import TokenizerKind
from onward.training.memory import kept_a_token

DEFAULT_SIZE = "small"
DEFAULT_MINUTES = 3.0

# Beyond so many passes a model learns the text by heart: the loss on text that it has not seen rises again.
MOST_EPOCHS = 5
_FEWEST_STEPS = 256
_MOST_TOKENS_A_STEP = 4096
_SHORT = 8192
# A fifth of what AdamW has from nothing; adapters need several times the rate of all weights (Schulman et al., LoRA
# Without Regret, 2025, find ten; a base of 0.1 million parameters learned 104 conversations best with ten and more).
_FINE_TUNING_RATE, _LORA_FACTOR = 0.0006, 5
_KEPT_BYTES = 1 << 30
_FEWEST_TOKENS = 257  # the bytes and the end token


def default_vocab_size(n_bytes: int, d_model: int) -> int:
    """About a token for every two thousand bytes of text, as a power of two from 512 to 32 times the model's width.

    A larger vocabulary would cost a narrow model more time than all its blocks. A short text cannot fill 512.

    >>> default_vocab_size(1_003_854, d_model=128), default_vocab_size(100_000_000, d_model=128)
    (512, 4096)
    """
    if n_bytes < _SHORT:
        return _FEWEST_TOKENS + n_bytes // 32
    return 1 << max(min(round(math.log2(n_bytes / 2000)), int(math.log2(32 * d_model))), 9)


def train_tokenizer(kind: TokenizerKind, texts: Sequence[str], vocab_size: int | None, d_model: int) -> Tokenizer:
    """A tokenizer, with a vocabulary that suits the text and the model unless one is given.

    Characters are all those of the text. Words are those that occur twice, so that the model sees in training what
    unknown ones are like; more than 32 times the model's width would cost more time than all its blocks.
    """
    if kind == "characters":
        return simple.train_on(texts, "characters", vocab_size=vocab_size)
    if kind == "words":
        return simple.train_on(texts, "words", vocab_size=vocab_size or 32 * d_model, min_frequency=2)
    if vocab_size is not None:
        return Tokenizer.train_on(texts, vocab_size=vocab_size)
    chosen = default_vocab_size(sum(len(text.encode()) for text in texts), d_model)
    while True:
        try:
            return Tokenizer.train_on(texts, vocab_size=chosen)
        except TokenizerError:  # a text of few different words cannot fill it
            if chosen <= _FEWEST_TOKENS:
                raise
            chosen = _FEWEST_TOKENS + (chosen - _FEWEST_TOKENS) // 2


def default_training(model: ModelConfig, optimizer: str, n_tokens: int) -> dict[str, Any]:
    """Batch and learning rates for a model's shape, its optimizer, and the length of its text.

    The learning rates fall with the root of the width, from those that were measured at 128 (docs/recipe.md).
    """
    tokens_a_step = min(MOST_EPOCHS * n_tokens / _FEWEST_STEPS, _MOST_TOKENS_A_STEP)
    windows = max(tokens_a_step / model.context_length, 1)
    by_width = math.sqrt(128 / model.d_model)
    values: dict[str, Any] = {
        "batch_size": 1 << round(math.log2(windows)),
        "learning_rate": (0.003 if optimizer == "adamw" else 0.04) * by_width,
        "unembed_learning_rate": 0.012 * by_width,
    }
    if optimizer == "muon":
        values |= {"weight_decay": 0.02}
    if not model.embed_norm:
        values |= {"embed_learning_rate": 0.003 * by_width}
    return values


def default_fine_tuning(
    model: ModelConfig, optimizer: str, *, lora_rank: int, epoch_tokens: int, sample_tokens: int
) -> dict[str, Any]:
    """Batch and learning rates to go on from a model that has learned already.

    Args:
        model: its shape.
        optimizer: that of the matrices inside the blocks.
        lora_rank: rank of the adapters; 0: all weights are learned.
        epoch_tokens: tokens of the training text.
        sample_tokens: tokens of a window or, on average, of a conversation.
    """
    rate = _FINE_TUNING_RATE * math.sqrt(128 / model.d_model) * (_LORA_FACTOR if lora_rank else 1)
    rates = dict.fromkeys(("embed_learning_rate", "unembed_learning_rate", "vector_learning_rate"), rate)
    tokens_a_step = min(MOST_EPOCHS * epoch_tokens / _FEWEST_STEPS, _MOST_TOKENS_A_STEP)
    return {
        "optimizer": optimizer,
        "learning_rate": 0.002 if optimizer == "muon" else rate,
        **rates,
        "batch_size": 1 << round(math.log2(max(tokens_a_step / sample_tokens, 1))),
    }


def windows_at_once(model: ModelConfig, window_length: int, batch_size: int) -> int:
    """The most windows of a batch, in equal parts, of which a gigabyte is kept for the way back.

    >>> from onward.model.config import preset
    >>> windows_at_once(preset("gpt2"), 512, batch_size=8), windows_at_once(preset("small", vocab_size=512), 128, 32)
    (4, 32)
    """
    numbers = model.n_layers * kept_a_token(model)
    most = max(int(_KEPT_BYTES / (4 * numbers * window_length)), 1)
    return next(size for size in range(min(most, batch_size), 0, -1) if batch_size % size == 0)


def most_steps(n_tokens: int, tokens_a_step: int) -> int:
    """Steps beyond which the text would be learned by heart.

    >>> most_steps(n_tokens=500_000, tokens_a_step=4096)
    610
    """
    return max(MOST_EPOCHS * n_tokens // tokens_a_step, 1)
