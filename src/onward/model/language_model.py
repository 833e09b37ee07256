"""What every language model answers, and what the layers of one forward pass share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from onward.errors import ConfigError, DataError
from onward.model.hook import Hooks
from onward.model.kv_cache import KVCache
from onward.model.position import Rotation
from onward.tokenizer import Tokenizer


@runtime_checkable
class State(Protocol):
    """What a model remembers between calls, row by row: a KVCache, a recurrent hidden state, the last n words.

    It is made by `start`, passed with every call, and updated in place. One text at a time needs no more; texts that
    are written together (Batch) and beams need the two methods.
    """

    def select(self, rows: Sequence[int]) -> Any:
        """A state of these rows, in this order, each as often as it is named; this one stays as it is."""

    def append(self, other: Any) -> None:
        """Take in the rows of another state of the same model, after those that there are; lengths may differ."""


@runtime_checkable
class LanguageModel(Protocol):
    """Tokens in, logits of the next token out: all that generation, evaluation and serving ask for.

    Each row is answered as if it were alone, whatever the others are.
    """

    tokenizer: Tokenizer | None
    vocab_size: int
    context_length: int

    def start(self, batch: int, source: Any = None) -> State:
        """A fresh state for `batch` rows; `source` is what an encoder-decoder reads."""

    def __call__(
        self, tokens: Int[Tensor, "batch pos"], state: Any = None, last_only: bool = False
    ) -> Float[Tensor, "batch out_pos vocab"]:
        """Logits at each position for the token at the next, or at the last position alone (out_pos = 1)."""


def tokenizer_of(model: LanguageModel) -> Tokenizer:
    """The model's tokenizer.

    Raises:
        ConfigError: it has none.
    """
    if model.tokenizer is None:
        raise ConfigError("this model has no tokenizer: set model.tokenizer = onward.Tokenizer.load(...)")
    return model.tokenizer


def check_tokens(tokens: Tensor, vocab_size: int, *, training: bool) -> None:
    """Refuse tokens that a model cannot look up; a GPU, asked for them, fails for good.

    To read the tokens takes some microseconds, and waits for the device. So the ids are taken as they are in training,
    where they come from the model's own tokenizer, and where torch.compile traces.

    Raises:
        DataError: tokens of a wrong shape or type, none at all, or an id outside the vocabulary.
    """
    if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
        raise DataError(
            f"tokens must be integers of shape (batch, pos), as model.to_tokens(text) gives; "
            f"got {tokens.dtype} of shape {tuple(tokens.shape)}"
        )
    if tokens.numel() == 0:
        raise DataError(f"there are no tokens (shape {tuple(tokens.shape)}); a model needs at least one to go on from")
    if training or torch.compiler.is_compiling():
        return
    least, most = (int(bound) for bound in torch.aminmax(tokens))
    if least < 0 or most >= vocab_size:
        raise DataError(
            f"token {least if least < 0 else most} is outside the model's vocabulary of 0 to {vocab_size - 1}; "
            "was the text encoded by another tokenizer?"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pass:
    """What the layers of one forward pass share; made by the model once a pass."""

    positions: Int[Tensor, "#batch pos"]
    """Where each token stands in its row's text; one row where that is the same in all."""
    visible: Bool[Tensor, "#batch 1 q_pos k_pos"] | None = None
    """Which keys each query may see, by model/mask.py; None: what the model's kind of attention shows by itself."""
    rotation: Rotation | None = None
    """The turn of queries and keys at each position, where positions are rotary."""
    kv_cache: KVCache | None = None
    """Keys and values of the tokens before."""
    hooks: Hooks | None = None
    """What is recorded or edited on the way."""

    def visible_to_last(self, n_queries: int) -> Bool[Tensor, "#batch 1 q_pos k_pos"] | None:
        """Which keys the last queries may see."""
        return None if self.visible is None else self.visible[:, :, -n_queries:]
