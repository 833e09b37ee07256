"""How a model knows where a token stands: sinusoidal and rotary positions.

Learned positions are an Embedding of the position (Radford et al., 2018).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from onward.model import kernels
from onward.model.config import ModelConfig, RotaryScaling


def sinusoidal_table(context_length: int, d_model: int) -> Float[Tensor, "pos d_model"]:
    """Sines in the even columns and cosines in the odd ones, their wavelengths from 2 pi to 10,000 times 2 pi.

    Source: Vaswani et al., Attention Is All You Need, 2017, section 3.5.

    >>> sinusoidal_table(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    cos, sin = _waves(context_length, d_model, theta=10_000.0)
    return torch.stack([sin, cos], dim=-1).flatten(-2)


class SinusoidalPositions(nn.Module):
    """A fixed vector for each position, added to the embedding."""

    table: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.register_buffer("table", sinusoidal_table(config.context_length, config.d_model), persistent=False)

    def forward(self, positions: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The vectors of these positions."""
        return self.table[positions]


class RotaryPositions(nn.Module):
    """Queries and keys turned by angles that grow with the position, so that a score depends on the distance alone.

    Source: Su et al., RoFormer, 2021; number i of a head's first half is paired with number i of its second half.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        cos, sin = _waves(config.context_length, config.d_head, config.rotary_theta, config.rotary_scaling)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, positions: Int[Tensor, "batch pos"]) -> Rotation:
        """The rotation for these positions, made once a pass."""
        return Rotation(self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1))


class Rotation:
    """The turn of every position of one pass; `cos` and `sin` have shape (batch, 1, pos, d_head / 2)."""

    def __init__(self, cos: Tensor, sin: Tensor) -> None:
        self.cos = cos
        self.sin = sin

    def __call__(self, heads: Float[Tensor, "batch head last d_head"]) -> Float[Tensor, "batch head last d_head"]:
        """Turn queries or keys, of all positions or of the last ones."""
        n_last = heads.shape[2]
        cos, sin = self.cos[:, :, -n_last:].to(heads.dtype), self.sin[:, :, -n_last:].to(heads.dtype)
        if kernels.suits_kernels(heads):
            return kernels.rotate(heads, cos, sin)
        first, second = heads.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _frequencies(size: int, theta: float) -> Float[Tensor, " half"]:
    """The angle from one position to the next, for size / 2 pairs: from 1 down to nearly 1 / theta."""
    return theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)


def _scaled(frequencies: Float[Tensor, " half"], scaling: RotaryScaling) -> Float[Tensor, " half"]:
    """The frequencies slowed as RotaryScaling says."""
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    turns = scaling.original_context_length * frequencies / (2 * math.pi)  # within the original context
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    return frequencies / scaling.factor * (1 - kept.clamp(0, 1)) + frequencies * kept.clamp(0, 1)


def _waves(
    context_length: int, size: int, theta: float, scaling: RotaryScaling | None = None
) -> tuple[Float[Tensor, "pos half"], Float[Tensor, "pos half"]]:
    """Cosine and sine of position times frequency, for size / 2 pairs."""
    if torch.get_default_device().type == "meta":  # only drawn up: torch would import its compiler, for two seconds
        return torch.empty(context_length, size // 2), torch.empty(context_length, size // 2)
    frequencies = _frequencies(size, theta)
    if scaling is not None:
        frequencies = _scaled(frequencies, scaling)
    angles = (torch.arange(context_length)[:, None] * frequencies).float()
    return angles.cos(), angles.sin()
