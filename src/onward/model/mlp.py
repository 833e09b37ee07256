"""The feedforward layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
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


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """What a gate lets through: up · gate / (1 + e^-gate) (Shazeer, GLU Variants Improve Transformer, 2020)."""
    return kernels.swiglu(gate, up) if kernels.suits_kernels(gate, up) else F.silu(gate) * up


Activation = Callable[..., Tensor]
ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "gelu": gelu, "relu_squared": relu_squared, "swiglu": swiglu}


@contextlib.contextmanager
def _remade(post: Tensor, activation: Activation, *pre: Tensor) -> Iterator[None]:
    """What is called in here keeps `pre` for its way back in place of `post`, which is then made once more.

    The activation keeps `pre` anyway: a sixth to a quarter of what a block keeps is saved, for a pass over memory.
    """
    kept, address = [x.detach() for x in pre], post.data_ptr()  # not `post`: torch holds on to both functions

    def pack(x: Tensor) -> tuple[Tensor, int] | torch.Size:
        return x.shape if x.data_ptr() == address else (x, x._version)

    def unpack(packed: tuple[Tensor, int] | torch.Size) -> Tensor:
        if isinstance(packed, torch.Size):
            return activation(*kept).view(packed)
        x, version = packed
        if x._version != version:  # torch looks itself only where there are no such functions
            raise RuntimeError("a weight of the feedforward layer was changed in place before its way back")
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


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
        return self._bend_and_narrow(shared, self.hook_pre(self.up_proj(resid), shared.hooks))

    def _bend_and_narrow(self, shared: Pass, *pre: Tensor) -> Tensor:
        post = self.hook_post(self.activation(*pre), shared.hooks)
        # A hook may have changed `post`; relu goes back from it; and torch's own operations keep more than `pre`.
        is_plain = shared.hooks is None and self.activation is not F.relu
        is_remade = is_plain and post.requires_grad and kernels.suits_kernels(post)
        with _remade(post, self.activation, *pre) if is_remade else contextlib.nullcontext():
            return self.hook_out(self.down_proj(post), shared.hooks)


class GatedMLP(MLP):
    """Widen twice, let one bend and gate the other, narrow: SwiGLU.

    Hooks: as those of MLP; `pre` is what the gate is made of, `post` what it has let through.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.gate_proj = Linear(config.d_model, config.d_mlp, bias=config.bias)

    def forward(self, resid: Float[Tensor, "batch pos d_model"], shared: Pass) -> Float[Tensor, "batch pos d_model"]:
        """What the feedforward layer adds to the residual stream."""
        return self._bend_and_narrow(shared, self.hook_pre(self.gate_proj(resid), shared.hooks), self.up_proj(resid))


def make_mlp(config: ModelConfig) -> MLP:
    """The kind of feedforward layer that the config asks for."""
    return GatedMLP(config) if config.activation == "swiglu" else MLP(config)
