"""Which windows of the text, or which conversations, step s trains on, as a function of (seed, s) alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from onward.data.shards import TokenFile
from onward.errors import DataError

# Positions of a batch of conversations come in multiples of it: few different shapes, and whole tiles of a processor's
# matrix units (see training/calibrate.py).
_WHOLE_LENGTH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Windows of tokens and, shifted by one position, what is to be predicted."""

    tokens: npt.NDArray[np.int64]
    """What the model sees, shape (batch, pos)."""
    targets: npt.NDArray[np.int64]
    """The token that follows each, shape (batch, pos)."""
    loss_mask: npt.NDArray[np.bool_]
    """Which targets count in the loss, shape (batch, pos)."""

    def split(self, size: int) -> Iterator[Batch]:
        """Yield micro-batches of `size` windows."""
        for first in range(0, len(self.tokens), size):
            rows = slice(first, first + size)
            yield Batch(tokens=self.tokens[rows], targets=self.targets[rows], loss_mask=self.loss_mask[rows])


class Batches:
    """Every epoch cuts the text into windows at a new offset, and visits them in a new order.

    Windows of one epoch do not overlap, so that each token is a target once an epoch, up to the text's ends.

    >>> text = TokenFile(tokens=np.arange(10), document_starts=np.zeros(1, np.uint64), loss_mask=None, vocab_size=10,
    ...                  n_bytes=10)
    >>> batch = Batches(text, context_length=4, batch_size=2, seed=1).at(0)
    >>> bool((batch.targets == batch.tokens + 1).all())
    True
    """

    def __init__(self, source: TokenFile, *, context_length: int, batch_size: int, seed: int) -> None:
        self._source = source
        self._context_length = context_length
        self._batch_size = batch_size
        self._seed = seed
        n_targets = len(source.tokens) - 1
        if n_targets < context_length:
            raise DataError(
                f"the training text has {len(source.tokens)} tokens, fewer than the context's {context_length} + 1; "
                f"give more text, or a shorter context with --set model.context_length={max(1, n_targets // 4)}"
            )
        # One window fewer than would fit leaves room to shift all of them by up to a whole window.
        self.n_windows = max(1, n_targets // context_length - 1)
        self._n_offsets = min(context_length, n_targets - self.n_windows * context_length + 1)
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def at(self, step: int) -> Batch:
        """The batch of one step, counted from 0."""
        samples = step * self._batch_size + np.arange(self._batch_size)
        starts = [self._window_start(*divmod(int(sample), self.n_windows)) for sample in samples]
        return window_batch(self._source, starts, self._context_length)

    def _window_start(self, epoch: int, index: int) -> int:
        offset, order = self._epoch(epoch)
        return offset + int(order[index]) * self._context_length

    def _draw_epoch(self, epoch: int) -> tuple[int, npt.NDArray[np.int64]]:
        random = np.random.default_rng([self._seed, epoch])
        return int(random.integers(self._n_offsets)), random.permutation(self.n_windows)


class ConversationBatches:
    """Every epoch visits all conversations in a new order, each whole, in a row of its own.

    >>> text = TokenFile(tokens=np.arange(10), document_starts=np.array([0, 6], np.uint64),
    ...                  loss_mask=np.ones(10, np.uint8), vocab_size=10, n_bytes=10)
    >>> batch = ConversationBatches(text, context_length=4, batch_size=2, seed=1).at(0)
    >>> batch.tokens.tolist(), batch.loss_mask.sum(axis=1).tolist()
    ([[1, 2, 3, 4], [7, 8, 0, 0]], [4, 2])
    """

    def __init__(self, source: TokenFile, *, context_length: int, batch_size: int, seed: int) -> None:
        self._source = source
        self._context_length = context_length
        self._batch_size = batch_size
        self._seed = seed
        self.n_windows = len(source.document_starts)
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def at(self, step: int) -> Batch:
        """The batch of one step, counted from 0."""
        samples = step * self._batch_size + np.arange(self._batch_size)
        chosen = [divmod(int(sample), self.n_windows) for sample in samples]
        documents = [int(self._order(epoch)[index]) for epoch, index in chosen]
        return conversation_batch(self._source, documents, self._context_length)

    def _draw_order(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self._seed, epoch]).permutation(self.n_windows)


def make_batches(
    source: TokenFile, *, context_length: int, batch_size: int, seed: int
) -> Batches | ConversationBatches:
    """The batches of a token file: conversations, if it has a loss mask, else windows of text."""
    kind = Batches if source.loss_mask is None else ConversationBatches
    return kind(source, context_length=context_length, batch_size=batch_size, seed=seed)


def conversation_batch(source: TokenFile, documents: Sequence[int], most: int) -> Batch:
    """Conversations side by side, without the end token before each, as the model sees them when it replies.

    They are filled up to the length of the longest with targets that do not count, which no position before them sees.

    Args:
        source: a token file with a loss mask.
        documents: which conversations.
        most: the most positions; what is beyond is cut off.
    """
    assert source.loss_mask is not None
    starts = source.document_starts.astype(np.int64)
    ends = np.append(starts[1:], len(source.tokens))
    spans = [
        slice(int(starts[document]) + 1, min(int(ends[document]), int(starts[document]) + most + 2))
        for document in documents
    ]
    longest = max(span.stop - span.start - 1 for span in spans)
    length = min(-(-longest // _WHOLE_LENGTH) * _WHOLE_LENGTH, most)
    tokens, targets = (np.zeros((len(spans), length), np.int64) for _ in range(2))
    mask = np.zeros((len(spans), length), np.bool_)
    for row, span in enumerate(spans):
        document = source.tokens[span]
        tokens[row, : len(document) - 1], targets[row, : len(document) - 1] = document[:-1], document[1:]
        mask[row, : len(document) - 1] = source.loss_mask[span][1:]
    return Batch(tokens=tokens, targets=targets, loss_mask=mask)


def window_batch(source: TokenFile, starts: list[int], length: int) -> Batch:
    """The windows of `length` tokens that begin at `starts`, with the targets that follow."""
    windows: npt.NDArray[Any] = np.stack([source.tokens[start : start + length + 1] for start in starts])
    if source.loss_mask is None:
        mask = np.ones((len(starts), length), np.bool_)
    else:
        mask = np.stack([source.loss_mask[start + 1 : start + length + 1] for start in starts]).astype(np.bool_)
    windows = windows.astype(np.int64)
    return Batch(tokens=windows[:, :-1], targets=windows[:, 1:], loss_mask=mask)
