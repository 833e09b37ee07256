"""Blocks, and whole stacks of them, against torch's own encoder layers, which take the causal mask as an argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onward.model.block import BLOCKS
from onward.model.config import FORMS, ModelConfig
from onward.model.decoder import Decoder
from onward.model.language_model import Pass
from onward.model.mask import causal_mask
from onward.model.mlp import gelu
from onward.model.position import sinusoidal_table
from tests.conftest import random_decoder

SIZES: dict[str, Any] = {"vocab_size": 20, "context_length": 8, "n_layers": 3, "d_model": 12, "n_heads": 4, "d_mlp": 20}


def torchs_layer(config: ModelConfig) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        config.d_model,
        config.n_heads,
        config.d_mlp,
        dropout=0.0,
        activation={"relu": nn.functional.relu, "gelu": gelu}[config.activation],
        layer_norm_eps=config.norm_epsilon,
        batch_first=True,
        norm_first=config.norm_order == "pre",
        bias=config.bias,
    )


@torch.no_grad()
def copy_block(theirs: nn.TransformerEncoderLayer, ours: Any) -> None:
    """Give torch's layer our block's weights."""
    pairs = [
        (theirs.self_attn.out_proj, ours.attn.o_proj),
        (theirs.linear1, ours.mlp.up_proj),
        (theirs.linear2, ours.mlp.down_proj),
        (theirs.norm1, ours.attn_norm),
        (theirs.norm2, ours.mlp_norm),
    ]
    for target, source in pairs:
        target.load_state_dict(source.state_dict())
    qkv = [ours.attn.q_proj, ours.attn.k_proj, ours.attn.v_proj]
    theirs.self_attn.in_proj_weight.copy_(torch.cat([projection.weight for projection in qkv]))
    if ours.attn.q_proj.bias is not None:
        theirs.self_attn.in_proj_bias.copy_(torch.cat([projection.bias for projection in qkv]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_order", ["post", "pre"])
def test_a_block_is_torchs_encoder_layer(norm_order: str, activation: str, bias: bool) -> None:
    form = {"norm": "layer", "positions": "learned", "qk_norm": False, "norm_epsilon": 0.01}
    config = ModelConfig(**SIZES | form, norm_order=norm_order, activation=activation, bias=bias)
    ours = BLOCKS[norm_order](config, layer=0)
    random = torch.Generator().manual_seed(1)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, generator=random)
    theirs = torchs_layer(config)
    copy_block(theirs, ours)
    resid = torch.randn(2, 7, 12, generator=random)
    expected = theirs(resid, src_mask=~causal_mask(7, 7))
    found = ours.eval()(resid, Pass(positions=torch.arange(7).unsqueeze(0)))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["vaswani", "gpt2"])
def test_a_whole_form_of_torchs_parts(form: str) -> None:
    """Embeddings, positions, the stack, the last norm and the linear layer, put together from torch's modules."""
    config = ModelConfig(**SIZES | FORMS[form])
    ours = random_decoder(config)
    layer, last_norm = torchs_layer(config), nn.LayerNorm(12) if form == "gpt2" else None
    theirs = nn.TransformerEncoder(layer, config.n_layers, norm=last_norm, enable_nested_tensor=False)
    for their_block, our_block in zip(theirs.layers, ours.blocks, strict=True):
        copy_block(their_block, our_block)
    if last_norm is not None:
        last_norm.load_state_dict(ours.final_norm.state_dict())
    tokens = torch.randint(20, (2, 7), generator=torch.Generator().manual_seed(1))
    entering = nn.functional.embedding(tokens, ours.embed.weight)
    if form == "vaswani":
        entering = entering * 12**0.5 + sinusoidal_table(7, 12)
    else:
        assert ours.position_embed is not None
        entering = entering + ours.position_embed.weight[:7]
    left = theirs(entering, mask=~causal_mask(7, 7))
    expected = nn.functional.linear(left, *_unembedding(ours))
    torch.testing.assert_close(ours(tokens), expected.detach(), atol=1e-4, rtol=1e-4)


def _unembedding(model: Decoder) -> tuple[Tensor, Tensor | None]:
    """What the final linear layer must be: the embeddings with GPT-2, a matrix and a bias of its own with Vaswani."""
    if model.config.tied_embeddings:
        return model.embed.weight, None
    assert model.unembed.bias is not None
    assert bool(model.unembed.bias.all())
    return model.unembed.weight, model.unembed.bias
