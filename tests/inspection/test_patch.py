from __future__ import annotations

import pytest
import torch

from onward.errors import ConfigError
from onward.inspection.patch import ablate, patch
from onward.model.decoder import Decoder
from onward.model.hook import Hooks
from tests.model.test_decoder import FORMS, TOKENS, decoder

OTHER = (TOKENS + 7) % 50


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Decoder:
    return decoder(**FORMS[request.param])


def test_ablated_heads_are_as_if_their_projection_were_0(form: Decoder) -> None:
    ablated = form(TOKENS, hooks=Hooks(edit=ablate("blocks.1.attn.z", heads=[0, 2])))
    assert not torch.allclose(ablated, form(TOKENS))
    for head in (0, 2):
        size = form.config.d_value
        form.blocks[1].attn.o_proj.weight[:, head * size : (head + 1) * size] = 0
    torch.testing.assert_close(ablated, form(TOKENS))


def test_ablated_positions_are_no_others(form: Decoder) -> None:
    hooks = Hooks(record="*", edit=ablate("blocks.0.resid_post", positions=[3, -1]))
    ablated = form(TOKENS, hooks=hooks)
    resid = hooks.cache["blocks.0.resid_post"]
    assert resid.abs().sum(dim=-1).eq(0).nonzero()[:, 1].tolist() == [3, 11] * 3
    torch.testing.assert_close(ablated[:, :3], form(TOKENS)[:, :3])
    assert not torch.allclose(ablated[:, 3:], form(TOKENS)[:, 3:])


def test_ablated_heads_at_positions() -> None:
    hooks = Hooks(record="*", edit=ablate("blocks.*.attn.pattern", heads=[1], positions=[5]))
    decoder()(TOKENS, hooks=hooks)
    pattern = hooks.cache["blocks.*.attn.pattern"]
    assert pattern[:, :, 1, 5].eq(0).all()
    torch.testing.assert_close(pattern.sum(dim=-1).sum(dim=(-1, -2)), torch.full((2, 3), 4 * 12 - 1.0))


@pytest.mark.parametrize("names", ["embed", "blocks.0.resid_mid", "blocks.1.resid_post", "final_norm", "logits"])
def test_what_is_patched_whole_is_the_other_run(form: Decoder, names: str) -> None:
    """Every path goes through these places, so whatever follows is as in the other run."""
    logits, cache = form.run_with_cache(OTHER)
    torch.testing.assert_close(form(TOKENS, hooks=Hooks(edit=patch(names, cache))), logits)


def test_a_patch_at_positions_moves_what_follows_alone(form: Decoder) -> None:
    """One position of the last block decides its own logits; nothing else can reach them."""
    logits, cache = form.run_with_cache(OTHER, names="blocks.1.resid_post")
    patched = form(TOKENS, hooks=Hooks(edit=patch("blocks.1.resid_post", cache, positions=[4])))
    torch.testing.assert_close(patched[:, 4], logits[:, 4], atol=1e-5, rtol=1e-4)
    rest = [position for position in range(12) if position != 4]
    torch.testing.assert_close(patched[:, rest], form(TOKENS)[:, rest], atol=1e-5, rtol=1e-4)


def test_one_row_serves_all_and_heads_are_chosen() -> None:
    model = decoder(n_kv_heads=2)
    _, cache = model.run_with_cache(OTHER[:1])
    hooks = Hooks(record="*", edit=patch("blocks.0.attn.v", cache, heads=[1]))
    model(TOKENS, hooks=hooks)
    v, own = hooks.cache["blocks.0.attn.v"], model.run_with_cache(TOKENS)[1]["blocks.0.attn.v"]
    assert torch.equal(v[:, 1], cache["blocks.0.attn.v"][:, 1].expand(3, -1, -1))
    assert torch.equal(v[:, 0], own[:, 0])


def test_patches_of_another_text_or_place_are_refused() -> None:
    model = decoder()
    _, cache = model.run_with_cache(TOKENS[:, :5], names="embed")

    def message(edit: dict) -> str:
        with pytest.raises(ConfigError) as refused:
            model(TOKENS, hooks=Hooks(edit=edit))
        return str(refused.value)

    assert "the cache holds embed of (3, 5, 16), and here (3, 12, 16) passes" in message(patch("embed", cache))
    assert "logits is to be patched, but was not recorded" in message(patch("logits", cache))
    assert "there is no head 4 at blocks.0.attn.z; it has 4" in message(ablate("blocks.0.attn.z", heads=[4]))
    assert "embed has no heads to choose from; its axes are batch, pos" in message(ablate("embed", heads=[0]))
    assert "there is no position 12 at embed; it has 12" in message(ablate("embed", positions=[12]))
