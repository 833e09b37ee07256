from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from onward.model.attention import Attention
from onward.model.config import ModelConfig
from onward.model.language_model import Pass
from onward.model.mask import causal_mask

POSITIONS = torch.arange(7).unsqueeze(0)
MASKS = ["causal", "full", "window", "given", "blind"]


def attention(dtype: torch.dtype = torch.float32, **changes: Any) -> Attention:
    settings: dict[str, Any] = {"vocab_size": 9, "context_length": 8, "n_layers": 1, "d_model": 12, "n_heads": 4}
    form = {"positions": "learned", "qk_norm": False, "bias": True}
    layer = Attention(ModelConfig(**settings | form | changes), layer=0).to(dtype)
    random = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=random)
    return layer


def masked(kind: str, n_positions: int = 7) -> tuple[str, Pass]:
    """The attention of the config, and what the layers share, for a kind of mask; "blind" hides all from a query."""
    visible = None
    if kind == "window":
        visible = causal_mask(n_positions, n_positions).triu(-2).expand(1, 1, -1, -1)
    if kind in ("given", "blind"):
        visible = torch.rand(2, 1, n_positions, n_positions, generator=torch.Generator().manual_seed(4)) < 0.5
        visible[..., 0] = True
        if kind == "blind":
            visible[1, :, 2] = False
    return "full" if kind == "full" else "causal", Pass(positions=POSITIONS[:, :n_positions], visible=visible)


def heads(n_heads: int, n_positions: int, size: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, n_heads, n_positions, size, generator=random, dtype=torch.float64).to(dtype)


def test_three_tokens_by_hand() -> None:
    """One head. Each query meets the keys with scores 2 * (0, ln 3, ln 4) / sqrt(4), so weights go as 1 : 3 : 4."""
    q = torch.tensor([2.0, 0.0, 0.0, 0.0]).expand(1, 1, 3, 4)
    k = torch.tensor([0.0, math.log(3), math.log(4)]).view(1, 1, 3, 1) * torch.tensor([1.0, 5.0, 6.0, 7.0])
    v = torch.tensor([[8.0, 0.0], [0.0, 8.0], [8.0, 8.0]]).view(1, 1, 3, 2)
    first, second, third = [8.0, 0.0], [8 / 4, 8 * 3 / 4], [8 / 8 + 8 * 4 / 8, 8 * 3 / 8 + 8 * 4 / 8]
    in_window = [8 * 4 / 7, 8 * 3 / 7 + 8 * 4 / 7]  # the third sees the second and itself
    hidden = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 1]]).bool().view(1, 1, 3, 3)
    alone = [8 / 5 + 8 * 4 / 5, 8 * 4 / 5]  # the third sees the first and itself
    window = causal_mask(3, 3).triu(-1).view(1, 1, 3, 3)
    for kind, visible, expected in (
        ("causal", None, [first, second, third]),
        ("full", None, [third, third, third]),
        ("causal", window, [first, second, in_window]),
        ("causal", hidden, [first, [0.0, 8.0], alone]),
    ):
        layer = attention(d_model=4, n_heads=1, d_value=2, attention=kind)
        for way in (layer.explicit, layer.fused):
            z = way(q, k, v, Pass(positions=POSITIONS[:, :3], visible=visible))
            torch.testing.assert_close(z[0, 0], torch.tensor(expected))


def test_a_whole_layer_by_loops() -> None:
    """Projections, heads that share keys, sizes apart: one number at a time, as the paper writes it."""
    layer = attention(n_heads=4, n_kv_heads=2, d_head=2, d_value=3, d_model=5)
    resid = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(1))
    shared = Pass(positions=POSITIONS[:, :3])

    def project(name: str, position: int) -> list[float]:
        linear = getattr(layer, name)
        return [
            sum(w * x for w, x in zip(row, resid[0, position].tolist(), strict=True)) + b
            for row, b in zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)
        ]

    for position in range(3):
        z: list[float] = []
        for head in range(4):
            q = project("q_proj", position)[2 * head : 2 * head + 2]
            pair = head // 2  # heads 0 and 1 share the first keys and values, 2 and 3 the second
            keys = [project("k_proj", seen)[2 * pair : 2 * pair + 2] for seen in range(position + 1)]
            values = [project("v_proj", seen)[3 * pair : 3 * pair + 3] for seen in range(position + 1)]
            weights = [math.exp((q[0] * k[0] + q[1] * k[1]) / math.sqrt(2)) for k in keys]
            for number in range(3):
                weighted = (w * value[number] for w, value in zip(weights, values, strict=True))
                z.append(sum(weighted) / sum(weights))
        out = layer.o_proj.weight @ torch.tensor(z) + layer.o_proj.bias
        torch.testing.assert_close(layer(resid, shared)[0, position], out, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_explicit_and_fused_agree(mask: str, dtype: torch.dtype) -> None:
    """And with torch's own, in float64: for every mask, sharing of keys, and sizes of a head."""
    kind, shared = masked(mask)
    for n_kv_heads, (d_head, d_value) in itertools.product([4, 2, 1], [(3, 3), (6, 5), (2, 8)]):
        layer = attention(n_kv_heads=n_kv_heads, d_head=d_head, d_value=d_value, attention=kind)
        q, k = heads(4, 7, d_head, 1, dtype), heads(n_kv_heads, 7, d_head, 2, dtype)
        v = heads(n_kv_heads, 7, d_value, 3, dtype)
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        expected = F.scaled_dot_product_attention(
            q.double(),
            k.double().repeat_interleave(4 // n_kv_heads, dim=1),
            v.double().repeat_interleave(4 // n_kv_heads, dim=1),
            attn_mask=shared.visible if kind == "full" or shared.visible is not None else causal_mask(7, 7),
        )
        for way in (layer.explicit, layer.fused):
            z = way(q, k, v, shared)
            assert z.dtype == dtype
            torch.testing.assert_close(z.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask", ["causal", "full", "window"])
def test_agrees_with_torchs_multi_head_attention(mask: str, bias: bool) -> None:
    kind, shared = masked(mask)
    layer = attention(attention=kind, bias=bias)
    theirs = torch.nn.MultiheadAttention(12, 4, bias=bias, batch_first=True)
    projections = [layer.q_proj, layer.k_proj, layer.v_proj]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
        theirs.out_proj.weight.copy_(layer.o_proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([projection.bias for projection in projections]))
            theirs.out_proj.bias.copy_(layer.o_proj.bias)
    resid = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(1))
    hidden = {"causal": ~causal_mask(7, 7), "full": None, "window": ~causal_mask(7, 7).triu(-2)}[mask]
    expected, _ = theirs(resid, resid, resid, attn_mask=hidden, need_weights=False)
    torch.testing.assert_close(layer(resid, shared), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("way", ["explicit", "fused"])
def test_gradients(mask: str, way: str) -> None:
    kind, shared = masked(mask, n_positions=4)
    layer = attention(d_model=4, n_heads=2, n_kv_heads=1, d_head=2, d_value=3, attention=kind)
    q, k, v = (heads(*shape, seed=1, dtype=torch.float64) for shape in ((2, 4, 2), (1, 4, 2), (1, 4, 3)))
    inputs = tuple(vectors.requires_grad_() for vectors in (q, k, v))
    assert torch.autograd.gradcheck(lambda q, k, v: getattr(layer, way)(q, k, v, shared), inputs)


def test_gradients_of_the_whole_layer() -> None:
    layer = attention(torch.float64, d_model=4, n_heads=2, d_head=2, d_value=1, qk_norm=True, norm="rms_gain")
    resid = torch.randn(1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inputs = (resid.requires_grad_(), *layer.parameters())
    assert torch.autograd.gradcheck(lambda resid, *parameters: layer(resid, Pass(positions=POSITIONS)), inputs)


@pytest.mark.parametrize("way", ["explicit", "fused"])
def test_a_query_that_sees_no_key_gathers_nothing(way: str) -> None:
    _, shared = masked("blind")
    assert shared.visible is not None
    layer = attention(d_head=3)
    z = getattr(layer, way)(heads(4, 7, 3, 1), heads(4, 7, 3, 2), heads(4, 7, 3, 3), shared)
    assert torch.equal(z[1, :, 2], torch.zeros(4, 3))
    assert float(z[0].abs().min()) > 0
