from __future__ import annotations

import pytest
import torch

from onward.errors import DataError
from onward.inspection.lens import logit_attribution, logit_lens
from onward.model.decoder import Decoder
from onward.model.hook import Hooks
from tests.model.test_decoder import FORMS, TOKENS, decoder

MORE_FORMS = {**FORMS, "llama": {"norm": "rms_gain", "activation": "swiglu", "embed_norm": False, "n_kv_heads": 2}}


@pytest.fixture(params=MORE_FORMS)
def form(request: pytest.FixtureRequest) -> Decoder:
    return decoder(**MORE_FORMS[request.param])


def test_the_lens_after_the_last_block_is_the_logits(form: Decoder) -> None:
    logits, cache = form.run_with_cache(TOKENS)
    lens = logit_lens(form, cache["blocks.*.resid_post"])
    assert lens.shape == (2, 3, 12, 50)
    torch.testing.assert_close(lens[1], logits)


def test_the_lens_is_what_a_model_without_the_later_blocks_says(form: Decoder) -> None:
    _, cache = form.run_with_cache(TOKENS, names="blocks.0.resid_post")
    lens = logit_lens(form, cache["blocks.0.resid_post"])
    form.blocks = form.blocks[:1]
    torch.testing.assert_close(lens, form(TOKENS))


@pytest.mark.parametrize("position", [-1, 0, 5])
def test_attributions_sum_to_the_logit(form: Decoder, position: int) -> None:
    parts = logit_attribution(form, TOKENS, target=7, position=position)
    total = torch.stack(list(parts.values())).sum(dim=0)
    torch.testing.assert_close(total, form(TOKENS)[:, position, 7], atol=1e-5, rtol=1e-5)
    added = ["position_embed"] if form.position_embed is not None else []
    outs = [f"blocks.{layer}.{part}.out" for layer in range(2) for part in ("attn", "mlp")]
    assert list(parts) == ["embed", *added, *outs, "bias"]


def test_attribution_by_hand() -> None:
    """RMSNorm before `unembed`: each part over the root mean square of the sum, times the token's row."""
    model = decoder(embed_norm=False)
    _, cache = model.run_with_cache(TOKENS)
    resid = cache["blocks.1.resid_post"][:, -1]
    expected = (
        cache["blocks.0.attn.out"][:, -1] / resid.square().mean(-1, keepdim=True).sqrt() @ model.unembed.weight[7]
    )
    torch.testing.assert_close(logit_attribution(model, TOKENS, 7)["blocks.0.attn.out"], expected)


def test_attribution_of_the_last_layer_is_what_its_absence_takes_at_a_fixed_scale() -> None:
    """With the final norm's scale held, taking a part out of the sum takes its attribution off the logit."""
    model = decoder(norm="layer", bias=True, unembed_bias=True)
    _, cache = model.run_with_cache(TOKENS)
    resid, part = cache["blocks.1.resid_post"][:, -1], cache["blocks.1.mlp.out"][:, -1]
    without = resid - part
    # LayerNorm's output moves by the centred part over the standard deviation, if that is held.
    held = (without - without.mean(-1, keepdim=True)) / (resid.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    logits = model.unembed(held * model.final_norm.weight + model.final_norm.bias)
    expected = model(TOKENS)[:, -1, 7] - logits[:, 7]
    actual = logit_attribution(model, TOKENS, 7)["blocks.1.mlp.out"]
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="position 12 and target 7 must be among the 12 positions and the 50 tokens"):
        logit_attribution(decoder(), TOKENS, target=7, position=12)
    with pytest.raises(DataError, match="position -1 and target 50 must"):
        logit_attribution(decoder(), TOKENS, target=50)


def test_lens_of_an_edited_run() -> None:
    model = decoder()
    hooks = Hooks(record="*", edit={"blocks.1.*.out": torch.zeros_like})
    logits = model(TOKENS, hooks=hooks)
    torch.testing.assert_close(logit_lens(model, hooks.cache["blocks.0.resid_post"]), logits)
