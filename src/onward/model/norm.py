"""LayerNorm and RMSNorm: each vector of the residual stream, brought to one scale."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onward.model import kernels
from onward.model.config import ModelConfig


class LayerNorm(nn.Module):
    """Subtract the mean, divide by the standard deviation, then scale and shift by learned vectors.

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016.
    """

    def __init__(self, size: int, *, bias: bool, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.bias = nn.Parameter(torch.empty(size)) if bias else None
        self.epsilon = epsilon

    def forward(self, vectors: Float[Tensor, "*axes size"]) -> Float[Tensor, "*axes size"]:
        """Norm each vector along the last axis."""
        return F.layer_norm(vectors, self.weight.shape, self.weight, self.bias, self.epsilon)


class RMSNorm(nn.Module):
    """Divide by the root mean square, then scale by a learned vector: the gain.

    Without the gain nothing is learned here; the linear layer that follows can learn it.
    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """

    def __init__(self, size: int, *, gain: bool, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.empty(size)) if gain else None
        self.epsilon = epsilon

    def forward(self, vectors: Float[Tensor, "*axes size"]) -> Float[Tensor, "*axes size"]:
        """Norm each vector along the last axis."""
        if not kernels.suits_kernels(vectors):
            return F.rms_norm(vectors, (self.size,), self.weight, self.epsilon)
        normed = kernels.rms_norm(vectors, self.epsilon)
        return normed if self.weight is None else normed * self.weight


def make_norm(config: ModelConfig, size: int) -> LayerNorm | RMSNorm:
    """The kind of norm that the config asks for, for vectors of `size`."""
    if config.norm == "layer":
        return LayerNorm(size, bias=config.bias, epsilon=config.norm_epsilon)
    return RMSNorm(size, gain=config.norm == "rms_gain", epsilon=config.norm_epsilon)
