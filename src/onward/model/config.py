"""What a model is made of: ModelConfig, and the presets by name."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from onward.config import fill_zeros
from onward.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a Decoder.

    Raises:
        ConfigError: a value that is out of range, or contradicts another.

    >>> ModelConfig(vocab_size=65, context_length=32, n_layers=2, d_model=64, n_heads=4).d_head
    16
    """

    vocab_size: int
    """Number of different tokens."""
    context_length: int
    """The most tokens that the model sees at once."""
    n_layers: int
    """Number of blocks."""
    d_model: int
    """Width of the residual stream."""
    n_heads: int
    """Attention heads a block."""
    n_kv_heads: int = 0
    """Heads of keys and values, each shared by n_heads / n_kv_heads heads of queries; 0: n_heads."""
    d_head: int = 0
    """Size of a query and a key; 0: d_model / n_heads."""
    d_value: int = 0
    """Size of a value; 0: d_head."""
    d_mlp: int = 0
    """Width of the feedforward layer; 0: 4 d_model."""
    activation: Literal["relu", "gelu", "relu_squared"] = "relu_squared"
    """The feedforward layer's nonlinearity; gelu is GPT-2's tanh form."""
    norm: Literal["layer", "rms"] = "rms"
    """LayerNorm, or RMSNorm without a gain."""
    norm_order: Literal["pre", "post"] = "pre"
    """Norm before each sublayer (GPT-2), or after each sum (Vaswani et al.)."""
    positions: Literal["learned", "sinusoidal", "rotary"] = "rotary"
    """How the model knows where a token stands."""
    rotary_theta: float = 10_000.0
    """Base of the rotary frequencies."""
    embed_norm: bool = True
    """Norm on the embeddings, before the first block."""
    qk_norm: bool = True
    """Norm on each query and key, so that attention scores stay bounded."""
    bias: bool = False
    """Biases in the linear layers and the norms."""
    tied_embeddings: bool = False
    """Whether embed and unembed are one matrix."""
    dropout: float = 0.0
    """Share of what each sublayer adds that is dropped in training, against learning a small text by heart."""

    def __post_init__(self) -> None:
        d_head = self.d_head or self.d_model // max(self.n_heads, 1)
        fill_zeros(self, n_kv_heads=self.n_heads, d_head=d_head, d_value=d_head, d_mlp=4 * self.d_model)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is int and not 1 <= value <= 1 << 24:
                raise ConfigError(f"model.{field.name} must be between 1 and {1 << 24}; got {value}")
        if not 0 < self.rotary_theta < math.inf:
            raise ConfigError(f"model.rotary_theta must be above 0; got {self.rotary_theta}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be at least 0 and below 1; got {self.dropout}")
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(f"model.n_heads = {self.n_heads} is not a multiple of n_kv_heads = {self.n_kv_heads}")
        if self.positions == "rotary" and self.d_head % 2:
            raise ConfigError(f"rotary positions turn pairs of numbers: model.d_head = {self.d_head} must be even")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ConfigError(f"sinusoidal positions come in pairs: model.d_model = {self.d_model} must be even")


_GPT2: dict[str, Any] = {
    "vocab_size": 50257,
    "context_length": 1024,
    "activation": "gelu",
    "norm": "layer",
    "positions": "learned",
    "embed_norm": False,
    "qk_norm": False,
    "bias": True,
    "tied_embeddings": True,
}

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"n_layers": 2, "d_model": 64, "n_heads": 1, "context_length": 64},
    "small": {"n_layers": 4, "d_model": 128, "n_heads": 2, "context_length": 128},
    "base": {"n_layers": 6, "d_model": 384, "n_heads": 6, "context_length": 256},
    "gpt2": {"n_layers": 12, "d_model": 768, "n_heads": 12, **_GPT2},
    "gpt2-medium": {"n_layers": 24, "d_model": 1024, "n_heads": 16, **_GPT2},
    "gpt2-large": {"n_layers": 36, "d_model": 1280, "n_heads": 20, **_GPT2},
    "gpt2-xl": {"n_layers": 48, "d_model": 1600, "n_heads": 25, **_GPT2},
}
"""Sizes by name. The gpt2 family is that of Radford et al., 2019, with its published parameter counts."""


def preset(name: str, **changes: Any) -> ModelConfig:
    """The config of a preset, with some fields changed.

    >>> preset("gpt2").d_head
    64
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no size {name!r}; there are {', '.join(PRESETS)}")
    return ModelConfig(**{**PRESETS[name], **changes})
