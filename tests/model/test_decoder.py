from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from onward.errors import ConfigError, ContextLengthError
from onward.model import config
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.hook import Hooks
from onward.model.init import initialise
from onward.model.kv_cache import KVCache
from tests.conftest import random_decoder

FORMS: dict[str, dict[str, Any]] = {
    **config.FORMS,
    "sizes apart": {"d_head": 6, "d_value": 3, "d_mlp": 20, "n_kv_heads": 2, "tied_embeddings": True},
    "window": {**config.FORMS["llama"], "n_kv_heads": 2, "d_value": 6, "window": 8},
}
TOKENS = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))


def decoder(**changes: Any) -> Decoder:
    settings = {"vocab_size": 50, "context_length": 16, "n_layers": 2, "d_model": 16, "n_heads": 4}
    return random_decoder(ModelConfig(**{**settings, **changes}))


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Decoder:
    return decoder(**FORMS[request.param])


def test_later_tokens_do_not_change_earlier_logits(form: Decoder) -> None:
    changed = TOKENS.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 50
    before, after = form(TOKENS), form(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


def test_every_earlier_token_counts(form: Decoder) -> None:
    for position in range(12):
        changed = TOKENS.clone()
        changed[:, position] = (changed[:, position] + 1) % 50
        assert (form(TOKENS)[:, -1] - form(changed)[:, -1]).abs().max() > 1e-6, position


@pytest.mark.parametrize("cuts", [[12], [1] * 12, [5, 1, 1, 4, 1], [3, 9]])
def test_cached_logits_are_the_uncached(form: Decoder, cuts: list[int]) -> None:
    expected = form(TOKENS)
    state, parts, first = form.start(3), [], 0
    for n_tokens in cuts:
        parts.append(form(TOKENS[:, first : first + n_tokens], state))
        first += n_tokens
    largest = float(expected.abs().max())
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-5 * largest)


def test_rows_of_one_cache_may_have_different_lengths(form: Decoder) -> None:
    """Rows of 3, 7 and 5 tokens, padded to 7, go on as each would alone."""
    lengths = [3, 7, 5]
    state = form.start(3)
    form(TOKENS[:, :7], state)
    state.lengths = list(lengths)
    for offset in range(3):
        fresh = torch.stack([TOKENS[row, length + offset] for row, length in enumerate(lengths)])
        logits = form(fresh[:, None], state)
        for row, length in enumerate(lengths):
            alone = form(TOKENS[row : row + 1, : length + offset + 1], last_only=True)
            torch.testing.assert_close(logits[row], alone[0], rtol=0, atol=1e-5 * float(alone.abs().max()))


def in_parts(model: Decoder, lengths: list[int], mask: Tensor | None, *, last_only: bool) -> tuple[Tensor, KVCache]:
    """The logits of four more tokens after rows of these lengths, and the state then."""
    state = model.start(3)
    model(TOKENS[:, :7], state, mask=None if mask is None else mask[:, :7, :7])
    state.lengths = list(lengths)
    n_keys = max(lengths) + 4
    rows = None if mask is None else mask[:, n_keys - 4 : n_keys, :n_keys]
    return model(TOKENS[:, 7:11], state, last_only, mask=rows), state


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("lengths", [[7, 7, 7], [3, 7, 5]])
def test_last_only_is_the_last(form: Decoder, lengths: list[int], masked: bool) -> None:
    """In one pass and after others, with rows of one length and of several, and the state is the same too."""
    mask = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(2)) < 0.7 if masked else None
    torch.testing.assert_close(form(TOKENS, None, True, mask=mask), form(TOKENS, mask=mask)[:, -1:])
    last, state = in_parts(form, lengths, mask, last_only=True)
    whole, expected_state = in_parts(form, lengths, mask, last_only=False)
    torch.testing.assert_close(last, whole[:, -1:])
    assert state.lengths == expected_state.lengths
    torch.testing.assert_close(state.keys, expected_state.keys)
    torch.testing.assert_close(state.values, expected_state.values)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_last_block_works_for_the_last_position_alone(n_layers: int) -> None:
    """Unless something is watched: then all of it is there to see."""
    model = decoder(n_layers=n_layers)
    seen: list[tuple[int, ...]] = []
    for block in model.blocks:
        block.mlp.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape)))
    logits = model(TOKENS, last_only=True)
    assert seen == [(3, 12, 16)] * (n_layers - 1) + [(3, 1, 16)]
    hooks = Hooks(record="*")
    torch.testing.assert_close(model(TOKENS, last_only=True, hooks=hooks), logits)
    assert hooks.cache[f"blocks.{n_layers - 1}.attn.pattern"].shape == (3, 4, 12, 12)
    assert hooks.cache["final_norm"].shape == (3, 12, 16)


def test_full_attention_gives_the_last_as_well() -> None:
    model = decoder(attention="full")
    torch.testing.assert_close(model(TOKENS, last_only=True), model(TOKENS)[:, -1:])


def test_hooks_change_nothing_by_looking(form: Decoder) -> None:
    logits, cache = form.run_with_cache(TOKENS)
    torch.testing.assert_close(logits, form(TOKENS), atol=1e-5, rtol=1e-4)
    assert set(cache) == set(form.hook_names)


def test_recorded_shapes_and_meaning() -> None:
    model = decoder(d_head=6, d_value=3, n_kv_heads=2)
    _, cache = model.run_with_cache(TOKENS)
    shapes = {name.removeprefix("blocks.1."): tuple(value.shape) for name, value in cache.items()}
    assert shapes["embed"] == shapes["resid_pre"] == shapes["resid_mid"] == shapes["resid_post"] == (3, 12, 16)
    assert shapes["attn.q"] == (3, 4, 12, 6)
    assert shapes["attn.k"] == (3, 2, 12, 6)
    assert shapes["attn.v"] == (3, 2, 12, 3)
    assert shapes["attn.scores"] == shapes["attn.pattern"] == (3, 4, 12, 12)
    assert shapes["attn.z"] == (3, 4, 12, 3)
    assert shapes["mlp.pre"] == shapes["mlp.post"] == (3, 12, 64)
    pattern = cache["blocks.0.attn.pattern"]
    torch.testing.assert_close(pattern.sum(-1), torch.ones(3, 4, 12))
    assert float(pattern.triu(1).abs().max()) == 0.0
    torch.testing.assert_close(cache["blocks.0.resid_post"], cache["blocks.0.resid_mid"] + cache["blocks.0.mlp.out"])
    torch.testing.assert_close(model.unembed(model.final_norm(cache["blocks.1.resid_post"])), model(TOKENS))


def test_some_names_only() -> None:
    _, cache = decoder().run_with_cache(TOKENS, names=["blocks.*.attn.pattern", "embed"])
    assert list(cache) == ["embed", "blocks.0.attn.pattern", "blocks.1.attn.pattern"]


def test_an_edit_changes_what_follows() -> None:
    model = decoder()
    ablated = model(TOKENS, hooks=Hooks(edit={"blocks.*.mlp.out": torch.zeros_like}))
    for block in model.blocks:
        torch.nn.init.zeros_(block.mlp.down_proj.weight)
    torch.testing.assert_close(ablated, model(TOKENS))


def test_a_hook_that_names_no_place_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no place 'blocks\.7\.mlp'; near it: blocks\."):
        decoder()(TOKENS, hooks=Hooks(record=["blocks.7.mlp"]))


def test_a_fresh_model_knows_nothing() -> None:
    """Zero output projections: every block is the identity, and every token is equally likely."""
    model = Decoder(ModelConfig(vocab_size=50, context_length=16, n_layers=2, d_model=64, n_heads=4))
    initialise(model, seed=1)
    model.requires_grad_(False)
    loss = torch.nn.functional.cross_entropy(model(TOKENS)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
    assert float(loss) == pytest.approx(math.log(50))
    _, cache = model.run_with_cache(TOKENS)
    assert torch.equal(cache["blocks.0.resid_pre"], cache["blocks.1.resid_post"])


def test_same_seed_same_weights() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        model = Decoder(ModelConfig(vocab_size=50, context_length=16, n_layers=2, d_model=16, n_heads=4))
        initialise(model, seed)
        return list(model.parameters())

    assert all(itertools.starmap(torch.equal, zip(weights(1), weights(1), strict=True)))
    assert not torch.equal(weights(1)[0], weights(2)[0])


def test_too_many_tokens() -> None:
    model = decoder()
    with pytest.raises(ContextLengthError, match="17 tokens are over the model's context of 16"):
        model(torch.zeros(1, 17, dtype=torch.long))
    state = model.start(1)
    model(torch.zeros(1, 16, dtype=torch.long), state)
    with pytest.raises(ContextLengthError, match="16 tokens and 1 more are over the context of 16"):
        model(torch.zeros(1, 1, dtype=torch.long), state)


def test_a_name_is_one_name() -> None:
    _, cache = decoder().run_with_cache(TOKENS, names="embed")
    assert list(cache) == ["embed"]


def test_dropout_is_for_training_alone() -> None:
    model = Decoder(ModelConfig(vocab_size=50, context_length=16, n_layers=2, d_model=16, n_heads=4, dropout=0.5))
    initialise(model, seed=1)
    for block in model.blocks:
        torch.nn.init.ones_(block.mlp.down_proj.weight)
    torch.nn.init.ones_(model.unembed.weight[:7])
    assert torch.equal(model(TOKENS), model(TOKENS))
    model.train()
    assert not torch.equal(model(TOKENS), model(TOKENS))


@pytest.mark.parametrize("edit", [lambda activation: None, lambda activation: activation[:, :1], lambda activation: 0])
def test_an_edit_that_returns_something_else_is_named(edit: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"the edit of blocks\.0\.mlp\.out must return a tensor of shape \(3, 12, 16\)"
    ):
        decoder()(TOKENS, hooks=Hooks(edit={"blocks.0.mlp.out": edit}))
