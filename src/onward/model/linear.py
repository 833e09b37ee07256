"""The one linear layer and the one embedding of every model, and their twins: weights of 8 bits, low-rank updates."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from onward import _kernels  # after torch, whose threads it shares
from onward.errors import ConfigError
from onward.model.kernels import suits_kernels

_PANEL, _FOUR = 16, 4  # as in csrc/int8_linear.hpp


class Linear(nn.Linear):
    """torch's linear layer, whose weights are left as they are until `initialise` or a checkpoint fills them."""

    def reset_parameters(self) -> None:
        """Do nothing: all initialisation is in model/init.py."""


class Embedding(nn.Embedding):
    """torch's embedding, whose weights are left as they are until `initialise` or a checkpoint fills them."""

    def reset_parameters(self) -> None:
        """Do nothing: all initialisation is in model/init.py."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the vectors."""
        return self.weight.dtype


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRA:
    """What low-rank adapters are like: the update of a matrix is `B A alpha / rank`, where A has `rank` rows.

    Raises:
        ConfigError: a value out of its range.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, section 4.1.
    """

    rank: int
    """Rows of A and columns of B."""
    alpha: float
    """The update's scale, times the rank, so that the learning rate need not change with the rank."""

    def __post_init__(self) -> None:
        if not (1 <= self.rank < 1 << 24 and 0 < self.alpha < math.inf):
            raise ConfigError(
                f"the rank of LoRA must be at least 1, and its alpha above 0; got {self.rank} and {self.alpha}"
            )


class LoRALinear(nn.Module):
    """A linear layer whose weights stay as they are, and a low-rank update of them, which is learned.

    Args:
        layer: the layer, whose weights are taken, not copied.
        lora: rank and scale of the update.

    >>> layer = Linear(3, 2, bias=False)
    >>> _ = nn.init.zeros_(layer.weight)
    >>> adapted = LoRALinear(layer, LoRA(rank=1, alpha=2.0))
    >>> _ = nn.init.ones_(adapted.lora_a), nn.init.ones_(adapted.lora_b)
    >>> adapted(torch.ones(1, 3)).tolist()
    [[6.0, 6.0]]
    """

    def __init__(self, layer: Linear, lora: LoRA) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.lora_a = nn.Parameter(layer.weight.new_empty(lora.rank, layer.in_features))
        self.lora_b = nn.Parameter(layer.weight.new_empty(layer.out_features, lora.rank))
        self.scale = lora.alpha / lora.rank

    def forward(self, x: Float[Tensor, "*axes in"]) -> Float[Tensor, "*axes out"]:
        """`x (weight + B A scale)^T + bias`, without ever making B A."""
        return F.linear(x, self.weight, self.bias) + F.linear(F.linear(x, self.lora_a), self.lora_b) * self.scale

    @torch.no_grad()
    def merged(self) -> Linear:
        """One layer that does the same; `weight + B A scale` is written into the weights that were taken."""
        n_out, n_in = self.weight.shape
        layer = Linear(n_in, n_out, bias=self.bias is not None, device="meta")
        layer.weight, layer.bias = self.weight, self.bias
        layer.weight.addmm_(self.lora_b, self.lora_a, alpha=self.scale)
        return layer


class Int8Weight(nn.Module):
    """A matrix as integers from -127 to 127, and for each row the number that they are multiples of.

    The largest weight of a row becomes 127 or -127, so that a weight is off by at most 1/254 of it. Weights alone are
    rounded: what is multiplied by them, and every sum, stays float32.

    The integers lie in panels of 16 rows, as csrc/int8_linear.hpp draws them: (panel, four, row, number of the four).

    >>> layer = Int8Weight(torch.tensor([[127.0, -0.4, 2.6]]))
    >>> layer.weight.tolist(), layer.panels.shape
    ([[127.0, 0.0, 3.0]], torch.Size([1, 1, 16, 4]))
    """

    scale: Tensor

    def __init__(self, weight: Float[Tensor, "out in"]) -> None:
        super().__init__()
        weight = weight.detach().float()
        self.n_out, self.n_in = weight.shape
        scale = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        integers = (weight / scale[:, None]).round().to(torch.int8)
        whole = F.pad(integers, (0, -self.n_in % _FOUR, 0, -self.n_out % _PANEL))
        shape = (whole.shape[0] // _PANEL, _PANEL, whole.shape[1] // _FOUR, _FOUR)
        panels = whole.view(shape).transpose(1, 2).contiguous()
        self.panels = nn.Parameter(panels, requires_grad=False)
        self.register_buffer("scale", scale)

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """The matrix as floats, made anew."""
        integers = self.panels.transpose(1, 2).flatten(2).flatten(0, 1)[: self.n_out, : self.n_in]
        return integers.to(self.scale.dtype).mul_(self.scale[:, None])


class Int8Embedding(Int8Weight):
    """An embedding with weights of 8 bits."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the vectors."""
        return self.scale.dtype

    def forward(self, tokens: Int[Tensor, "*axes"]) -> Float[Tensor, "*axes d_model"]:
        """The vectors of these tokens."""
        integers = self.panels[tokens // _PANEL, :, tokens % _PANEL].flatten(-2)[..., : self.n_in]
        return integers * self.scale[tokens].unsqueeze(-1)


class Int8Linear(Int8Weight):
    """A linear layer with weights of 8 bits: a quarter of the memory, of which reading is what decoding waits for."""

    def __init__(self, weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None) -> None:
        super().__init__(weight)
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)

    def forward(self, x: Float[Tensor, "*axes in"]) -> Float[Tensor, "*axes out"]:
        """`x weight^T + bias`, by the kernel of csrc/int8_linear.cpp, which widens the weights on their way."""
        panels, scale, bias = self.panels, self.scale, self.bias  # once: a module's attributes are slow to find
        if x.requires_grad or not (suits_kernels(x) and scale.dtype == torch.float32):
            return self.widened(x)
        x = x.contiguous()
        out = x.new_empty(*x.shape[:-1], self.n_out)
        _kernels.int8_linear(
            x.data_ptr(),
            panels.data_ptr(),
            scale.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            out.data_ptr(),
            x.numel() // self.n_in,
            self.n_in,
            self.n_out,
        )
        return out

    def widened(self, x: Float[Tensor, "*axes in"]) -> Float[Tensor, "*axes out"]:
        """The same with all weights widened to floats first."""
        return F.linear(x, self.weight.to(x.dtype), self.bias)


def to_int8(model: nn.Module) -> None:
    """Round the weights of every linear layer of `model` to 8 bits, and those of the embedding of tokens; in place.

    Norms, biases and embeddings of positions stay as they are: they are small. A tied matrix stays one.
    """
    rounded: dict[Tensor, Int8Weight] = {}
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Linear):
                twin: Int8Weight = Int8Linear(child.weight, child.bias)
            elif isinstance(child, Embedding) and name == "embed":
                twin = Int8Embedding(child.weight)
            else:
                continue
            first = rounded.setdefault(child.weight, twin)
            twin.panels, twin.scale = first.panels, first.scale
            setattr(module, name, twin)
