"""What the kernels of csrc/ do quicker than torch on a CPU, and where they may."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from onward import _kernels  # after torch, whose threads it shares


def suits_kernels(x: Tensor) -> bool:
    """Whether the kernels can take `x`: float32 on the CPU, of which no gradient is asked, in a pass not compiled."""
    return x.dtype == torch.float32 and x.is_cpu and not (x.requires_grad or torch.compiler.is_compiling())


def attention(
    q: Float[Tensor, "batch head q_pos d_head"],
    k: Float[Tensor, "batch kv_head k_pos d_head"],
    v: Float[Tensor, "batch kv_head k_pos d_value"],
    is_causal: bool,
) -> Float[Tensor, "batch head q_pos d_value"]:
    """Softmax(q k^T / sqrt(d_head)) v, by the kernel of csrc/attention.cpp; z is laid out by position, then head.

    Args:
        q: the queries, which stand at the last of the positions.
        k: the keys, of as many heads or fewer, each for several heads of queries side by side.
        v: their values.
        is_causal: whether a query sees no key that stands after it.

    >>> q, k, v = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), torch.tensor([[[[1.0], [2.0]]]])
    >>> attention(q, k, v, is_causal=True).flatten().tolist()
    [1.0, 1.5]
    """
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
    n_batch, n_heads, n_queries, d_head = q.shape
    _, n_kv_heads, n_keys, d_value = v.shape
    z = q.new_empty(n_batch, n_queries, n_heads, d_value).transpose(1, 2)
    sizes = (n_batch, n_heads, n_kv_heads, n_queries, n_keys, d_head, d_value)
    _kernels.attention(_place(q), _place(k), _place(v), _place(z), *sizes, is_causal)
    return z


def gelu(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """The tanh form of the Gaussian error linear unit, by the kernel of csrc/gelu.cpp.

    >>> gelu(torch.tensor([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    x = x.contiguous()
    out = torch.empty_like(x)
    _kernels.gelu(x.data_ptr(), out.data_ptr(), x.numel())
    return out


def _place(heads: Tensor) -> tuple[int, tuple[int, ...]]:
    return heads.data_ptr(), heads.stride()[:3]
