"""Which windows of the text step s trains on, as a function of (seed, s) alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from onward.data.shards import TokenFile
from onward.errors import DataError


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


def window_batch(source: TokenFile, starts: list[int], length: int) -> Batch:
    """The windows of `length` tokens that begin at `starts`, with the targets that follow."""
    windows: npt.NDArray[Any] = np.stack([source.tokens[start : start + length + 1] for start in starts])
    if source.loss_mask is None:
        mask = np.ones((len(starts), length), np.bool_)
    else:
        mask = np.stack([source.loss_mask[start + 1 : start + length + 1] for start in starts]).astype(np.bool_)
    windows = windows.astype(np.int64)
    return Batch(tokens=windows[:, :-1], targets=windows[:, 1:], loss_mask=mask)
