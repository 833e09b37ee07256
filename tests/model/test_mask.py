from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onward.errors import ConfigError
from onward.model.config import ModelConfig
from onward.model.mask import causal_mask, visible_keys


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(vocab_size=9, context_length=8, n_layers=1, d_model=4, n_heads=2, **changes)


def drawn(visible: Tensor | None) -> list[str]:
    assert visible is not None
    return ["".join(".#"[int(seen)] for seen in query) for query in visible[0, 0]]


def test_causal_mask_for_queries_that_come_last() -> None:
    assert causal_mask(1, 4).tolist() == [[True] * 4]
    assert causal_mask(3, 3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_a_window_by_hand() -> None:
    five = torch.arange(5).unsqueeze(0)
    assert drawn(visible_keys(config(window=1), five, 5)) == ["#....", ".#...", "..#..", "...#.", "....#"]
    assert drawn(visible_keys(config(window=3), five, 5)) == ["#....", "##...", "###..", ".###.", "..###"]
    assert visible_keys(config(window=5), five, 5) is None  # as wide as the text: plain causal attention
    assert drawn(visible_keys(config(window=3), torch.tensor([[4]]), 5)) == ["..###"]  # one query behind a cache


def test_a_mask_hides_and_never_shows() -> None:
    mask = torch.tensor([[[1, 1, 1], [0, 1, 1], [0, 0, 0]]]).bool()
    three = torch.arange(3).unsqueeze(0)
    assert drawn(visible_keys(config(), three, 3, mask=mask)) == ["#..", ".#.", "..."]
    assert drawn(visible_keys(config(attention="full"), three, 3, mask=mask)) == ["###", ".##", "..."]
    assert drawn(visible_keys(config(window=1), three, 3, mask=~mask)) == ["...", "...", "..#"]


@settings(deadline=None)
@given(
    window=st.integers(0, 8),
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    n_queries=st.integers(1, 3),
    seed=st.none() | st.integers(0, 99),
)
def test_against_the_definition(window: int, lengths: list[int], n_queries: int, seed: int | None) -> None:
    """Query i of a row that holds `length` tokens stands at length + i; it sees what lies in its window, and itself."""
    n_keys = max(lengths) + n_queries
    positions = torch.tensor(lengths)[:, None] + torch.arange(n_queries)
    if len(set(lengths)) == 1:
        positions = positions[:1]
    mask = None
    if seed is not None:
        random = torch.Generator().manual_seed(seed)
        mask = torch.rand(len(lengths), n_queries, n_keys, generator=random) < 0.5
    found = visible_keys(config(window=window), positions, n_keys, len(lengths), mask)
    if found is None:
        found = causal_mask(n_queries, n_keys).expand(1, 1, -1, -1)
    found = found.expand(len(lengths), 1, -1, -1)
    for row, length in enumerate(lengths):
        for query in range(n_queries):
            for key in range(n_keys):
                distance = length + query - key
                seen = 0 <= distance < (window or n_keys) and (mask is None or bool(mask[row, query, key]))
                assert bool(found[row, 0, query, key]) == seen


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(1, 3, 3),
        torch.ones(3, 3, dtype=torch.bool),
        torch.ones(3, 3, 3, dtype=torch.bool),
        torch.ones(1, 3, 4, dtype=torch.bool),
    ],
    ids=["numbers", "two axes", "another batch", "other keys"],
)
def test_a_mask_that_does_not_fit_is_refused(mask: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"shape \(batch = 2 or 1, q_pos = 3, k_pos = 3\).* got torch\.\w+ and \("):
        visible_keys(config(), torch.arange(3).unsqueeze(0), 3, 2, mask)
