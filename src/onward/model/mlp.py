"""The feedforward layer."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onward.model import kernels
from onward.model.config import ModelConfig
from onward.model.hook import HookPoint
from onward.model.language_model import Pass
from onward.model.linear import Linear


def gelu(pre: Tensor) -> Tensor:
    """The tanh form of the Gaussian error linear unit, as in GPT-2 (Hendrycks and Gimpel, 2016)."""
    return kernels.gelu(pre) if kernels.suits_kernels(pre) else F.gelu(pre, approximate="tanh")


def relu_squared(pre: Tensor) -> Tensor:
    """The square of the rectified input (So et al., Primer, 2021)."""
    return kernels.relu_squared(pre) if kernels.suits_kernels(pre) else F.relu(pre).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": gelu, "relu_squared": relu_squared}


class MLP(nn.Module):
    """Each position on its own: widen, bend, narrow.

    Hooks: `pre` and `post` (batch, pos, d_mlp), before and after the activation, and `out` (batch, pos, d_model).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up_proj = Linear(config.d_model, config.d_mlp, bias=config.bias)
        self.down_proj = Linear(config.d_mlp, config.d_model, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()
        self.hook_out = HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"], shared: Pass) -> Float[Tensor, "batch pos d_model"]:
        """What the feedforward layer adds to the residual stream."""
        pre = self.hook_pre(self.up_proj(resid), shared.hooks)
        post = self.hook_post(self.activation(pre), shared.hooks)
        return self.hook_out(self.down_proj(post), shared.hooks)


class GatedMLP(nn.Module):
    """Widen twice, let one bend and gate the other, narrow: SwiGLU (Shazeer, GLU Variants Improve Transformer, 2020).

    Hooks: `pre` and `post` (batch, pos, d_mlp), what the nonlinearity sees and what is narrowed, which is the bent gate
    times the other; `out` (batch, pos, d_model).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.d_model, config.d_mlp, bias=config.bias)
        self.up_proj = Linear(config.d_model, config.d_mlp, bias=config.bias)
        self.down_proj = Linear(config.d_mlp, config.d_model, bias=config.bias)
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()
        self.hook_out = HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"], shared: Pass) -> Float[Tensor, "batch pos d_model"]:
        """What the feedforward layer adds to the residual stream."""
        pre = self.hook_pre(self.gate_proj(resid), shared.hooks)
        post = self.hook_post(F.silu(pre) * self.up_proj(resid), shared.hooks)
        return self.hook_out(self.down_proj(post), shared.hooks)


def make_mlp(config: ModelConfig) -> MLP | GatedMLP:
    """The kind of feedforward layer that the config asks for."""
    return GatedMLP(config) if config.activation == "swiglu" else MLP(config)
