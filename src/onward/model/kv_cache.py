"""KVCache: the keys and values of the tokens that a decoder has seen."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from onward.errors import ContextLengthError
from onward.model.config import ModelConfig

_STEP = 64


class KVCache:
    """The keys and values of a batch of rows; each row has a length of its own, and rows come and go between passes.

    There is always room for some more tokens than there are. A row that is shorter than the longest keeps what lies
    beyond its length out of sight, and writes over it. To forget a row's last tokens, lower its length.
    """

    def __init__(self, config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        shape = (config.n_layers, batch, config.n_kv_heads, 0)
        self.keys = torch.zeros(*shape, config.d_head, device=device, dtype=dtype)
        self.values = torch.zeros(*shape, config.d_value, device=device, dtype=dtype)
        self.lengths = [0] * batch
        self.context_length = config.context_length
        self._columns = torch.zeros(batch, 0, dtype=torch.long, device=device)

    @property
    def capacity(self) -> int:
        """How many tokens a row has room for before the cache grows."""
        return self.keys.shape[3]

    def positions(self, n_tokens: int) -> Int[Tensor, "#batch pos"]:
        """Where the next `n_tokens` of each row stand, with room made for them; one row where all lengths are equal.

        Raises:
            ContextLengthError: they are over the context.
        """
        longest = max(self.lengths)
        if longest + n_tokens > self.context_length:
            raise ContextLengthError(
                f"{longest} tokens and {n_tokens} more are over the context of {self.context_length}; "
                f"give fewer tokens, or a new state"
            )
        if longest + n_tokens > self.capacity:
            self._make_room(max(longest + n_tokens + 1, self.capacity * 3 // 2))
        lengths = torch.tensor(self.lengths[:1] if self._is_even else self.lengths, device=self.keys.device)
        self._columns = lengths[:, None] + torch.arange(n_tokens, device=self.keys.device)
        return self._columns

    def extend(
        self, layer: int, k: Float[Tensor, "batch head pos d_head"], v: Float[Tensor, "batch head pos d_value"]
    ) -> tuple[Float[Tensor, "batch head k_pos d_head"], Float[Tensor, "batch head k_pos d_value"]]:
        """Write the keys and values of the new tokens behind each row, and return all up to the longest row's end."""
        keys, values = self.keys[layer], self.values[layer]
        n_tokens = k.shape[2]
        if self._is_even:
            keys[:, :, self.lengths[0] : self.lengths[0] + n_tokens] = k
            values[:, :, self.lengths[0] : self.lengths[0] + n_tokens] = v
        else:
            rows = torch.arange(len(self.lengths), device=keys.device)[:, None]
            keys[rows, :, self._columns] = k.transpose(1, 2)
            values[rows, :, self._columns] = v.transpose(1, 2)
        end = max(self.lengths) + n_tokens
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, n_tokens: int) -> None:
        """Count the new tokens, once every layer has written them."""
        self.lengths = [length + n_tokens for length in self.lengths]

    def select(self, rows: Sequence[int]) -> KVCache:
        """A cache of these rows, in this order, each as often as it is named; this one stays as it is."""
        selected = copy.copy(self)
        selected.lengths = [self.lengths[row] for row in rows]
        n_kept = min(_rounded_up(max(selected.lengths, default=0) + 1), self.capacity)
        index = torch.tensor(rows, dtype=torch.long, device=self.keys.device)
        selected.keys = self.keys[:, :, :, :n_kept].index_select(1, index)
        selected.values = self.values[:, :, :, :n_kept].index_select(1, index)
        return selected

    def append(self, other: KVCache) -> None:
        """Take in the rows of another cache of the same model, after those that there are."""
        capacity = max(self.capacity, other.capacity)
        self.keys = _together([self.keys, other.keys], capacity)
        self.values = _together([self.values, other.values], capacity)
        self.lengths = [*self.lengths, *other.lengths]

    @property
    def _is_even(self) -> bool:
        """Whether all rows are of one length, as they are in nearly all passes but a server's."""
        return self.lengths.count(self.lengths[0]) == len(self.lengths)

    def _make_room(self, n_tokens: int) -> None:
        capacity = min(_rounded_up(n_tokens), self.context_length)
        self.keys, self.values = _together([self.keys], capacity), _together([self.values], capacity)


def _rounded_up(n_tokens: int) -> int:
    return -(-n_tokens // _STEP) * _STEP


def _together(parts: list[Tensor], capacity: int) -> Tensor:
    """Keys, or values, of several caches in one with room for `capacity` tokens.

    The room is filled with zeros: a masked score times what happens to lie in memory could still be not a number.
    """
    n_layers, _, n_heads, _, size = parts[0].shape
    whole = parts[0].new_zeros(n_layers, sum(part.shape[1] for part in parts), n_heads, capacity, size)
    first = 0
    for part in parts:
        whole[:, first : first + part.shape[1], :, : part.shape[3]] = part
        first += part.shape[1]
    return whole
