"""What the kernels of csrc/ do quicker than torch on a CPU, forward and back, and where they may.

torch's own operations are their twins: they do the same wherever the kernels may not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from onward import _kernels  # after torch, whose threads it shares
from onward.errors import ConfigError


def suits_kernels(*tensors: Tensor) -> bool:
    """Whether the kernels can take these: float32 on the CPU, in a pass that is not compiled."""
    return all(x.dtype == torch.float32 and x.is_cpu for x in tensors) and not torch.compiler.is_compiling()


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
    if _wants_gradient(q, k, v):
        return _Attention.apply(q, k, v, is_causal)  # type: ignore[no-untyped-call]
    return _attention(_with_whole_vectors(q), _with_whole_vectors(k), _with_whole_vectors(v), None, is_causal)


def gelu(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """The tanh form of the Gaussian error linear unit, by the kernel of csrc/activations.cpp.

    >>> gelu(torch.tensor([0.0, 100.0])).tolist()
    [0.0, 100.0]
    """
    if _wants_gradient(x):
        return _Gelu.apply(x)  # type: ignore[no-untyped-call]
    return _elementwise(_kernels.gelu, x)


def relu_squared(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """The square of the rectified input, by the kernel of csrc/activations.cpp.

    >>> relu_squared(torch.tensor([-3.0, 3.0])).tolist()
    [0.0, 9.0]
    """
    if _wants_gradient(x):
        return _ReluSquared.apply(x)  # type: ignore[no-untyped-call]
    return _elementwise(_kernels.relu_squared, x)


def swiglu(gate: Float[Tensor, "*axes"], up: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """What a gate lets through, up · gate / (1 + e^-gate), by the kernel of csrc/activations.cpp.

    >>> swiglu(gate=torch.tensor([0.0, 100.0]), up=torch.tensor([2.0, 2.0])).tolist()
    [0.0, 200.0]
    """
    if gate.shape != up.shape:
        raise ConfigError(f"a gate and what it lets through have one shape; got {gate.shape} and {up.shape}")
    if _wants_gradient(gate, up):
        return _Swiglu.apply(gate, up)  # type: ignore[no-untyped-call]
    return _elementwise(_kernels.swiglu, gate, up)


def rms_norm(x: Float[Tensor, "*axes size"], epsilon: float) -> Float[Tensor, "*axes size"]:
    """Each vector divided by its root mean square, by the kernel of csrc/vectors.cpp.

    >>> rms_norm(torch.tensor([3.0, 3.0, -3.0]), epsilon=0.0).tolist()
    [1.0, 1.0, -1.0]
    """
    if _wants_gradient(x):
        return _RMSNorm.apply(x, epsilon)  # type: ignore[no-untyped-call]
    return _rms_norm(x, epsilon)[0]


def rotate(
    x: Float[Tensor, "batch head pos d_head"],
    cos: Float[Tensor, "#batch 1 pos half"],
    sin: Float[Tensor, "#batch 1 pos half"],
) -> Float[Tensor, "batch head pos d_head"]:
    """Each vector turned by the angles of its position, by the kernel of csrc/vectors.cpp; laid out as z above.

    >>> x, zero, one = torch.tensor([[[[1.0, 2.0]]]]), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    >>> rotate(x, cos=zero, sin=one).tolist()
    [[[[-2.0, 1.0]]]]
    """
    if _wants_gradient(x):
        return _Rotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return _rotate(x, cos, sin, backwards=False)


def _once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A way back that refuses to be differentiated, rather than be taken for a constant."""

    def checked(ctx: Any, gradient: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise ConfigError("the kernels have no second derivative; ask for it in float64: model.double()")
        return backward(ctx, gradient)

    return checked


class _Attention(torch.autograd.Function):
    """Keeps a number for each query in place of the pattern."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
        q, k, v = _with_whole_vectors(q), _with_whole_vectors(k), _with_whole_vectors(v)
        log_sum = q.new_empty(q.shape[:3])
        z = _attention(q, k, v, log_sum, is_causal)
        ctx.save_for_backward(q, k, v, z, log_sum)
        ctx.is_causal = is_causal
        return z

    @staticmethod
    @_once
    def backward(ctx: Any, z_gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, z, log_sum = ctx.saved_tensors
        z_gradient = _with_whole_vectors(z_gradient)
        q_gradient, k_gradient, v_gradient = (_by_position(x, x.shape[3]) for x in (q, k, v))
        _kernels.attention_gradient(
            _place(q),
            _place(k),
            _place(v),
            _place(z),
            _place(z_gradient),
            log_sum.data_ptr(),
            _place(q_gradient),
            _place(k_gradient),
            _place(v_gradient),
            *_sizes(q, v),
            ctx.is_causal,
        )
        return q_gradient, k_gradient, v_gradient, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _elementwise(_kernels.gelu, x)

    @staticmethod
    @_once
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _elementwise(_kernels.gelu_gradient, *ctx.saved_tensors, gradient)


class _ReluSquared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _elementwise(_kernels.relu_squared, x)

    @staticmethod
    @_once
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _elementwise(_kernels.relu_squared_gradient, *ctx.saved_tensors, gradient)


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return _elementwise(_kernels.swiglu, gate, up)

    @staticmethod
    @_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        gate_gradient, up_gradient = torch.empty_like(gate), torch.empty_like(gate)
        gate, up, gradient = (_laid_out_as(gate_gradient, x) for x in (gate, up, gradient))
        places = gate.data_ptr(), up.data_ptr(), gradient.data_ptr(), gate_gradient.data_ptr(), up_gradient.data_ptr()
        _kernels.swiglu_gradient(*places, gate.numel())
        return gate_gradient, up_gradient


class _RMSNorm(torch.autograd.Function):
    """Goes back from what came out, which the next layer keeps anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:
        out, scale = _rms_norm(x, epsilon)
        ctx.save_for_backward(out, scale)
        return out

    @staticmethod
    @_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        out, scale = ctx.saved_tensors
        x_gradient = torch.empty_like(out)
        gradient = _laid_out_as(out, gradient)
        places = out.data_ptr(), scale.data_ptr(), gradient.data_ptr(), x_gradient.data_ptr()
        _kernels.rms_norm_gradient(*places, scale.numel(), out.shape[-1])
        return x_gradient, None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, backwards=False)

    @staticmethod
    @_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _rotate(gradient, *ctx.saved_tensors, backwards=True), None, None


def _attention(q: Tensor, k: Tensor, v: Tensor, log_sum: Tensor | None, is_causal: bool) -> Tensor:
    z = _by_position(q, v.shape[3])
    address = 0 if log_sum is None else log_sum.data_ptr()
    _kernels.attention(_place(q), _place(k), _place(v), _place(z), address, *_sizes(q, v), is_causal)
    return z


def _elementwise(kernel: Any, *tensors: Tensor) -> Tensor:
    out = torch.empty_like(tensors[0])
    laid_out = [_laid_out_as(out, x) for x in tensors]
    kernel(*(x.data_ptr() for x in laid_out), out.data_ptr(), out.numel())
    return out


def _rms_norm(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    x = _with_whole_vectors(x)
    out, scale = torch.empty_like(x), x.new_empty(x.shape[:-1].numel())  # in the order in which the vectors lie
    x = _laid_out_as(out, x)
    _kernels.rms_norm(x.data_ptr(), out.data_ptr(), scale.data_ptr(), scale.numel(), x.shape[-1], epsilon)
    return out, scale


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, *, backwards: bool) -> Tensor:
    x, cos, sin = _with_whole_vectors(x), cos.contiguous(), sin.contiguous()
    n_batch, n_heads, n_positions, d_head = x.shape
    out = _by_position(x, d_head)
    table_stride = cos.stride(0) if len(cos) > 1 else 0
    tables = (cos.data_ptr(), sin.data_ptr(), table_stride)
    _kernels.rotate(_place(x), _place(out), *tables, n_batch, n_heads, n_positions, d_head, backwards)
    return out


def _wants_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _by_position(heads: Tensor, size: int) -> Tensor:
    """Room for vectors of `size` in place of those of `heads`, laid out as the linear layers take and give them."""
    n_batch, n_heads, n_positions, _ = heads.shape
    return heads.new_empty(n_batch, n_positions, n_heads, size).transpose(1, 2)


def _with_whole_vectors(heads: Tensor) -> Tensor:
    return heads if heads.stride(-1) == 1 else heads.contiguous()


def _laid_out_as(out: Tensor, x: Tensor) -> Tensor:
    """`x` with the strides of `out`, which has no gaps: its own, if it has none either."""
    return x if x.stride() == out.stride() else torch.empty_like(out).copy_(x)


def _place(heads: Tensor) -> tuple[int, tuple[int, ...]]:
    """Address and strides."""
    return heads.data_ptr(), heads.stride()[:3]


def _sizes(q: Tensor, v: Tensor) -> tuple[int, int, int, int, int, int, int]:
    n_batch, n_heads, n_queries, d_head = q.shape
    _, n_kv_heads, n_keys, d_value = v.shape
    return n_batch, n_heads, n_kv_heads, n_queries, n_keys, d_head, d_value
