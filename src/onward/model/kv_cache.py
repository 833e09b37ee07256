"""KVCache: the keys and values of the tokens that a decoder has seen."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from onward.errors import ContextLengthError
from onward.model.config import ModelConfig


class KVCache:
    """Room for the keys and values of a whole context, taken once; every row has a length of its own.

    A row of shorter length than another keeps what lies beyond its length out of sight, and writes over it.
    """

    def __init__(self, config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        shape = (config.n_layers, batch, config.n_kv_heads, config.context_length)
        self.keys = torch.zeros(*shape, config.d_head, device=device, dtype=dtype)
        self.values = torch.zeros(*shape, config.d_value, device=device, dtype=dtype)
        self.lengths = [0] * batch
        self.context_length = config.context_length

    def positions(self, n_tokens: int) -> Int[Tensor, "#batch pos"]:
        """Where the next `n_tokens` of each row stand; one row where that is the same in all.

        Raises:
            ContextLengthError: there is no room for them.
        """
        if max(self.lengths) + n_tokens > self.context_length:
            raise ContextLengthError(
                f"{max(self.lengths)} tokens and {n_tokens} more are over the context of {self.context_length}; "
                f"give fewer tokens, or a new state"
            )
        lengths = torch.tensor(
            self.lengths if len(set(self.lengths)) > 1 else self.lengths[:1], device=self.keys.device
        )
        return lengths[:, None] + torch.arange(n_tokens, device=self.keys.device)

    def extend(
        self, layer: int, k: Float[Tensor, "batch head pos d_head"], v: Float[Tensor, "batch head pos d_value"]
    ) -> tuple[Float[Tensor, "batch head k_pos d_head"], Float[Tensor, "batch head k_pos d_value"]]:
        """Write the keys and values of the new tokens behind each row, and return all up to the longest row's end."""
        keys, values = self.keys[layer], self.values[layer]
        n_tokens = k.shape[2]
        if len(set(self.lengths)) == 1:
            keys[:, :, self.lengths[0] : self.lengths[0] + n_tokens] = k
            values[:, :, self.lengths[0] : self.lengths[0] + n_tokens] = v
        else:
            for row, length in enumerate(self.lengths):
                keys[row, :, length : length + n_tokens] = k[row]
                values[row, :, length : length + n_tokens] = v[row]
        end = max(self.lengths) + n_tokens
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, n_tokens: int) -> None:
        """Count the new tokens, once every layer has written them."""
        self.lengths = [length + n_tokens for length in self.lengths]
