from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.data.batches import Batches
from onward.data.shards import TokenFile
from onward.errors import DataError


def text(n_tokens: int, loss_mask: np.ndarray | None = None) -> TokenFile:
    return TokenFile(
        tokens=np.arange(n_tokens, dtype=np.uint16),
        document_starts=np.zeros(1, np.uint64),
        loss_mask=loss_mask,
        vocab_size=n_tokens,
        n_bytes=n_tokens,
    )


@given(n_tokens=st.integers(9, 300), context_length=st.integers(1, 8), seed=st.integers(0, 9), step=st.integers(0, 500))
def test_a_batch_is_a_function_of_seed_and_step(n_tokens: int, context_length: int, seed: int, step: int) -> None:
    def make() -> Batches:
        return Batches(text(n_tokens), context_length=context_length, batch_size=3, seed=seed)

    batches = make()
    for other in (step + 1, 0, step + 7):
        batches.at(other)
    fresh, used = make().at(step), batches.at(step)
    assert (fresh.tokens == used.tokens).all()
    assert (used.targets == used.tokens + 1).all()
    assert used.tokens.shape == used.targets.shape == used.loss_mask.shape == (3, context_length)


@given(n_tokens=st.integers(9, 300), context_length=st.integers(1, 8))
def test_an_epoch_visits_each_window_once(n_tokens: int, context_length: int) -> None:
    batches = Batches(text(n_tokens), context_length=context_length, batch_size=1, seed=1)
    for epoch in range(3):
        first = epoch * batches.n_windows
        seen = Counter[int]()
        for step in range(first, first + batches.n_windows):
            seen.update(batches.at(step).targets.flatten().tolist())
        assert set(seen.values()) == {1}
        assert len(seen) > n_tokens - 1 - 2 * context_length


def test_epochs_differ_in_offset_and_order() -> None:
    batches = Batches(text(2000), context_length=8, batch_size=batches_in_an_epoch(2000, 8), seed=1)
    first, second = batches.at(0).tokens[:, 0], batches.at(1).tokens[:, 0]
    assert {*(first % 8)} != {*(second % 8)}
    assert np.argsort(first).tolist() != np.argsort(second).tolist()


def batches_in_an_epoch(n_tokens: int, context_length: int) -> int:
    return Batches(text(n_tokens), context_length=context_length, batch_size=1, seed=1).n_windows


def test_another_seed_is_another_order() -> None:
    one, other = (Batches(text(2000), context_length=8, batch_size=9, seed=seed).at(0).tokens for seed in (1, 2))
    assert (one != other).any()


def test_loss_mask_belongs_to_the_targets() -> None:
    mask = (np.arange(50) % 3 == 0).astype(np.uint8)
    batch = Batches(text(50, mask), context_length=5, batch_size=4, seed=1).at(0)
    assert (batch.loss_mask == (batch.targets % 3 == 0)).all()


def test_micro_batches_are_the_batch() -> None:
    batch = Batches(text(50), context_length=5, batch_size=4, seed=1).at(0)
    parts = list(batch.split(2))
    assert [len(part.tokens) for part in parts] == [2, 2]
    assert (np.concatenate([part.targets for part in parts]) == batch.targets).all()


def test_text_shorter_than_the_context() -> None:
    with pytest.raises(DataError, match="has 8 tokens, fewer than the context's 8"):
        Batches(text(8), context_length=8, batch_size=1, seed=1)
    assert Batches(text(9), context_length=8, batch_size=1, seed=1).at(3).tokens.tolist() == [list(range(8))]
