"""Which keys a query may see: those before it, those in its window, those that a given mask lets through."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from onward.errors import ConfigError
from onward.model.config import ModelConfig


def causal_mask(n_queries: int, n_keys: int, device: torch.device | None = None) -> Bool[Tensor, "q_pos k_pos"]:
    """True where a query may see a key: its own position and those before it, the queries being the last of the keys.

    >>> causal_mask(2, 3).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


def visible_keys(
    config: ModelConfig,
    positions: Int[Tensor, "#batch q_pos"],
    n_keys: int,
    batch: int = 1,
    mask: Tensor | None = None,
) -> Bool[Tensor, "#batch 1 q_pos k_pos"] | None:
    """True where a query may see a key, by the model's own rule and by the mask that was given with the call, if any.

    None where `Attention` knows it without being told: causal attention in which the queries are all of the keys or
    the last one alone, and full attention.

    Args:
        config: says whether attention is causal, and how wide the window is.
        positions: where each query stands in its row's text; one row where that is the same in all.
        n_keys: the keys of a row stand at 0 to n_keys - 1; in a shorter row, the last of them are not visible.
        batch: the number of rows.
        mask: True where a query may see a key, (batch or 1, q_pos, k_pos).

    Raises:
        ConfigError: a mask of another type or shape.

    >>> config = ModelConfig(vocab_size=9, context_length=8, n_layers=1, d_model=4, n_heads=1, window=2)
    >>> visible_keys(config, torch.tensor([[0, 1, 2]]), n_keys=3)[0, 0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    n_queries = positions.shape[1]
    if mask is not None:
        _check_mask(mask, batch, n_queries, n_keys)
        mask = mask.unsqueeze(1)
    if config.attention == "full":
        return mask
    has_window = 0 < config.window < n_keys
    if mask is None and not has_window and len(positions) == 1 and n_queries in (1, n_keys):
        return None
    key_positions, query_positions = torch.arange(n_keys, device=positions.device), positions[..., None]
    visible = key_positions <= query_positions
    if has_window:
        visible &= key_positions > query_positions - config.window
    visible = visible.unsqueeze(1)
    return visible if mask is None else visible & mask


def _check_mask(mask: Tensor, batch: int, n_queries: int, n_keys: int) -> None:
    if mask.dtype != torch.bool or tuple(mask.shape) not in {(rows, n_queries, n_keys) for rows in (1, batch)}:
        raise ConfigError(
            f"a mask must be a tensor of bool and shape (batch = {batch} or 1, q_pos = {n_queries}, k_pos = {n_keys}), "
            f"True where a query may see a key; got {mask.dtype} and {tuple(mask.shape)}"
        )
