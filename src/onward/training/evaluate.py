"""How well a model predicts a text: loss, bits per byte, perplexity."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onward.data.batches import Batch, window_batch
from onward.data.shards import TokenFile
from onward.data.text import read_documents
from onward.errors import ConfigError, DataError
from onward.model.language_model import LanguageModel, tokenizer_of
from onward.tokenizer import Tokenizer
from onward.training.loss import summed_loss

# Logits of one batch: 64 MiB in float32, enough to keep the processor busy.
_LOGITS_AT_ONCE = 1 << 24
_TOKENS_AT_ONCE = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a model predicts a text."""

    n_tokens: int
    """Tokens predicted."""
    n_bytes: int
    """Bytes of text that they stand for."""
    nats: float
    """Minus the log-probability of all of them."""
    n_unknown: int = 0
    """How many of the tokens stand for characters or words that the tokenizer does not know."""
    unknown_bytes: float = 0
    """Bytes of text that those stand for."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.n_tokens

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of text, which compares models with different tokenizers.

        That a word is unknown does not yet say which it is: it counts as spelled out after that, at 8 bits for each of
        its bytes and 8 for its end.
        """
        return (self.nats / math.log(2) + 8 * (self.unknown_bytes + self.n_unknown)) / self.n_bytes

    @property
    def perplexity(self) -> float:
        """The number of equally likely tokens that would be as hard to predict."""
        return math.exp(self.loss)


@torch.inference_mode()
def evaluate(model: LanguageModel, text: TokenFile, *, most_tokens: int | None = None) -> Evaluation:
    """Predict every token of `text` once, in windows of the model's context that do not overlap.

    Args:
        model: any language model, with the tokenizer that the text was encoded with, which says how many bytes each
            token stands for.
        text: the first token, an end token, is given; all others are predicted.
        most_tokens: of a longer text, only so many tokens are predicted, in windows at even distances.
    """
    n_targets, length = len(text.tokens) - 1, model.context_length
    if n_targets < 1:
        raise DataError("the text has no token to predict; give more text")
    starts: Sequence[int] = range(0, n_targets, length)
    if most_tokens is not None and n_targets > most_tokens:
        at_even_distances = np.linspace(0, n_targets // length - 1, max(most_tokens // length, 1)).astype(int)
        starts = [starts[index] for index in at_even_distances]
    tokenizer = tokenizer_of(model)
    byte_lengths = _byte_lengths(tokenizer, text)
    n_tokens = n_unknown = 0
    n_bytes = nats = 0.0
    for batch in _windows(text, starts, length, at_once=max(_LOGITS_AT_ONCE // (length * model.vocab_size), 1)):
        tokens, targets, mask = to_tensors(batch, getattr(model, "device", "cpu"))
        nats += float(summed_loss(model(tokens), targets, mask))
        n_tokens += int(batch.loss_mask.sum())
        n_bytes += float(byte_lengths[batch.targets[batch.loss_mask]].sum())
        n_unknown += int((batch.targets[batch.loss_mask] == tokenizer.unknown_token).sum())
    unknown_bytes = n_unknown * byte_lengths[tokenizer.unknown_token] if n_unknown else 0.0
    return Evaluation(
        n_tokens=n_tokens,
        n_bytes=max(round(n_bytes), 1),
        nats=nats,
        n_unknown=n_unknown,
        unknown_bytes=float(unknown_bytes),
    )


def evaluate_texts(model: LanguageModel, paths: Sequence[Path]) -> Evaluation:
    """Predict every token of text files and folders once; documents are led by the end token, as in training.

    Raises:
        ConfigError: the model has no tokenizer.
        DataError: a text that is missing, empty, or no text.
    """
    tokenizer = tokenizer_of(model)
    if tokenizer.end_token is None:
        raise ConfigError("the model's tokenizer has no end token to lead a document with")
    documents = read_documents(paths)
    encoded = [tokenizer.encode_array(document, disallowed_special=()) for document in documents]
    end = [tokenizer.end_token]
    starts = np.cumsum([0, *(1 + len(tokens) for tokens in encoded[:-1])])
    text = TokenFile(
        tokens=np.concatenate([np.concatenate([end, tokens]) for tokens in encoded]),
        document_starts=starts.astype(np.uint64),
        loss_mask=None,
        vocab_size=tokenizer.vocab_size,
        n_bytes=sum(len(document.encode()) for document in documents),
    )
    return evaluate(model, text)


def _byte_lengths(tokenizer: Tokenizer, text: TokenFile) -> NDArray[np.float64]:
    """How many bytes of text each token stands for; for the unknown one, the mean over the text, whose length is known.

    Shape (vocab,).
    """
    lengths = np.array([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)], dtype=np.float64)
    lengths[list(tokenizer.special_tokens.values())] = 0
    if (unknown := tokenizer.unknown_token) is not None:
        counts = np.zeros(tokenizer.vocab_size)
        for begin in range(0, len(text.tokens), _TOKENS_AT_ONCE):
            counts += np.bincount(text.tokens[begin : begin + _TOKENS_AT_ONCE], minlength=tokenizer.vocab_size)
        lengths[unknown] = (text.n_bytes - counts @ lengths) / max(counts[unknown], 1)
    return lengths


def _windows(text: TokenFile, starts: Sequence[int], length: int, at_once: int) -> Iterator[Batch]:
    """The windows at `starts`, `at_once` of them a batch, and last the one that the text's end cuts short, if there."""
    whole = [start for start in starts if start + length < len(text.tokens)]
    for first in range(0, len(whole), at_once):
        yield window_batch(text, whole[first : first + at_once], length)
    for start in starts[len(whole) :]:
        yield window_batch(text, [start], len(text.tokens) - 1 - start)


def to_tensors(batch: Batch, device: torch.device | str) -> tuple[Any, Any, Any]:
    """Tokens, targets and loss mask of a batch as tensors (batch, pos) on `device`."""
    return tuple(torch.from_numpy(array).to(device) for array in (batch.tokens, batch.targets, batch.loss_mask))  # type: ignore[return-value]
