from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from onward.model.attention import Attention
from onward.model.config import ModelConfig
from onward.model.language_model import Pass
from onward.model.mask import causal_mask

POSITIONS = torch.arange(7).unsqueeze(0)


def attention(dtype: torch.dtype = torch.float32, **changes: int) -> Attention:
    settings = {"vocab_size": 9, "context_length": 8, "n_layers": 1, "d_model": 12, "n_heads": 4} | changes
    layer = Attention(ModelConfig(**settings, positions="learned", qk_norm=False, bias=True), layer=0).to(dtype)
    random = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=random)
    return layer


def heads(n_heads: int, n_positions: int, size: int, seed: int) -> Tensor:
    return torch.randn(2, n_heads, n_positions, size, generator=torch.Generator().manual_seed(seed))


def test_by_hand() -> None:
    """One head of size 1, two positions: the second sees both, with scores 0 and ln 3."""
    layer = attention(d_model=1, n_heads=1)
    q = torch.tensor([1.0, 1.0]).view(1, 1, 2, 1)
    k = torch.tensor([0.0, math.log(3)]).view(1, 1, 2, 1)
    v = torch.tensor([4.0, 8.0]).view(1, 1, 2, 1)
    z = layer.explicit(q, k, v, Pass(positions=POSITIONS))
    assert z.flatten().tolist() == pytest.approx([4.0, 4.0 / 4 + 8.0 * 3 / 4])


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize(("d_head", "d_value"), [(3, 3), (6, 5)])
@pytest.mark.parametrize("masked", [False, True])
def test_explicit_and_fused_agree(n_kv_heads: int, d_head: int, d_value: int, masked: bool) -> None:
    layer = attention(n_kv_heads=n_kv_heads, d_head=d_head, d_value=d_value)
    q, k, v = heads(4, 7, d_head, 1), heads(n_kv_heads, 7, d_head, 2), heads(n_kv_heads, 7, d_value, 3)
    visible = torch.rand(2, 1, 7, 7, generator=torch.Generator().manual_seed(4)) < 0.5
    visible[..., 0] = True
    shared = Pass(positions=POSITIONS, visible=visible if masked else None)
    torch.testing.assert_close(layer.explicit(q, k, v, shared), layer.fused(q, k, v, shared), atol=1e-5, rtol=1e-5)


def test_agrees_with_torchs_multi_head_attention() -> None:
    layer = attention()
    theirs = torch.nn.MultiheadAttention(12, 4, batch_first=True)
    projections = [layer.q_proj, layer.k_proj, layer.v_proj]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
        theirs.in_proj_bias.copy_(torch.cat([projection.bias for projection in projections]))
        theirs.out_proj.weight.copy_(layer.o_proj.weight)
        theirs.out_proj.bias.copy_(layer.o_proj.bias)
    resid = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1))
    expected, _ = theirs(resid, resid, resid, attn_mask=~causal_mask(7, 7), need_weights=False)
    torch.testing.assert_close(layer(resid, Pass(positions=POSITIONS)), expected, atol=1e-4, rtol=1e-4)


def test_gradients() -> None:
    layer = attention(torch.float64, d_model=4, n_heads=2, d_head=2, d_value=1)
    resid = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda resid: layer(resid, Pass(positions=POSITIONS)), resid)


def test_causal_mask_for_queries_that_come_last() -> None:
    assert causal_mask(1, 4).tolist() == [[True] * 4]
    assert causal_mask(3, 3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
