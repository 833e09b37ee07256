from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch

from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.kv_cache import KVCache
from tests.conftest import random_decoder

FORMS: dict[str, dict[str, Any]] = {
    "modern": {},
    "gpt2": {"norm": "layer", "positions": "learned", "activation": "gelu", "qk_norm": False, "bias": True},
    "vaswani": {"norm": "layer", "norm_order": "post", "positions": "sinusoidal", "activation": "relu", "bias": True},
    "sizes apart": {"d_head": 6, "d_value": 3, "d_mlp": 20, "n_kv_heads": 2, "tied_embeddings": True},
    "window": {"window": 5, "activation": "swiglu"},
}


def decoder(context_length: int = 150, **changes: Any) -> Decoder:
    settings = {"vocab_size": 50, "n_layers": 2, "d_model": 16, "n_heads": 4, "context_length": context_length}
    return random_decoder(ModelConfig(**{**settings, **changes}))


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Decoder:
    return decoder(**FORMS[request.param])


def assert_as_alone(model: Decoder, texts: list[list[int]], logits: torch.Tensor) -> None:
    """Logits (batch, 1, vocab) of the next tokens are what each text gives alone and uncached."""
    for text, row in zip(texts, logits, strict=True):
        alone = model(torch.tensor([text]), last_only=True)[0]
        torch.testing.assert_close(row, alone, rtol=0, atol=1e-5 * float(alone.abs().max()))


def test_rows_join_leave_and_change_places_between_steps(form: Decoder) -> None:
    """Sixty random steps over rows of all lengths, across several growths of the cache."""
    chance = random.Random(1)
    texts: list[list[int]] = []
    state: KVCache | None = None
    for _ in range(60):
        if len(texts) < 2 or (len(texts) < 6 and chance.random() < 0.3):
            fresh = [[chance.randrange(50) for _ in range(chance.randrange(1, 70))]] * chance.randrange(1, 3)
            joining = form.start(len(fresh))
            assert_as_alone(form, fresh, form(torch.tensor(fresh), joining, last_only=True))
            if state is None:
                state = joining
            else:
                state.append(joining)
            texts += [list(text) for text in fresh]
        elif chance.random() < 0.3 or max(map(len, texts)) > 145:
            keep = [row for row in range(len(texts)) if len(texts[row]) <= 145 and chance.random() < 0.8]
            keep = chance.sample(keep, len(keep)) + keep[:1]
            if not keep:
                state, texts = None, []
                continue
            assert state is not None
            state, texts = state.select(keep), [list(texts[row]) for row in keep]
        else:
            assert state is not None
            n_tokens = chance.choice([1, 1, 1, 3])
            more = [[chance.randrange(50) for _ in range(n_tokens)] for _ in texts]
            for text, tokens in zip(texts, more, strict=True):
                text += tokens
            assert_as_alone(form, texts, form(torch.tensor(more), state, last_only=True))
            assert state.lengths == [len(text) for text in texts]


def test_a_selection_leaves_the_first_as_it_was() -> None:
    model = decoder()
    state = model.start(2)
    model(torch.tensor([[1, 2, 3], [4, 5, 6]]), state)
    twin = state.select([1, 1])
    model(torch.tensor([[7], [8]]), twin)
    assert_as_alone(model, [[1, 2, 3, 9], [4, 5, 6, 9]], model(torch.tensor([[9], [9]]), state))
    assert_as_alone(model, [[4, 5, 6, 7, 9], [4, 5, 6, 8, 9]], model(torch.tensor([[9], [9]]), twin))


def test_the_last_tokens_can_be_forgotten() -> None:
    model = decoder()
    state = model.start(1)
    model(torch.tensor([[1, 2, 3, 4, 5]]), state)
    state.lengths = [2]
    assert_as_alone(model, [[1, 2, 9]], model(torch.tensor([[9]]), state))


def test_room_grows_with_what_is_needed_and_shrinks_with_what_is_kept() -> None:
    model = decoder(context_length=1000)
    state = model.start(3)
    assert state.capacity == 0
    model(torch.zeros(3, 10, dtype=torch.long), state)
    assert state.capacity == 64
    model(torch.zeros(3, 55, dtype=torch.long), state)
    assert state.capacity == 128
    long = model.start(1)
    model(torch.zeros(1, 1000, dtype=torch.long), long)
    assert long.capacity == 1000
    state.append(long)
    assert (state.capacity, state.lengths) == (1000, [65, 65, 65, 1000])
    assert state.select([0, 2]).capacity == 128


def test_growth_is_rare() -> None:
    """A text of 4,000 tokens, one by one, is copied a dozen times."""
    model = decoder(context_length=4000, n_layers=1, d_model=4, n_heads=1)
    state = model.start(1)
    sizes = []
    for _ in range(4000):
        state.positions(1)
        state.advance(1)
        sizes.append(state.capacity)
    assert len(set(sizes)) <= 13
    assert all(capacity <= max(64, 3 * n_tokens) for n_tokens, capacity in enumerate(sizes, start=1))
    assert all(later >= earlier for earlier, later in itertools.pairwise(sizes))


def test_no_room_is_left_uninitialised() -> None:
    """What a mask hides must still be a number: 0 times NaN is NaN."""
    model = decoder()
    state = model.start(1)
    model(torch.zeros(1, 70, dtype=torch.long), state)
    other = model.start(1)
    model(torch.zeros(1, 3, dtype=torch.long), other)
    other.append(state)
    assert other.keys.isfinite().all()
    assert not other.keys[:, 0, :, 3:].any()
