"""What a model is made of: ModelConfig, and the presets by name."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from onward.config import check, fill_zeros, from_dict
from onward.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotaryScaling:
    """How rotary frequencies are slowed, so that a model trained on shorter texts can read longer ones.

    `linear` divides them all by the factor (Chen et al., Position Interpolation, 2023). `llama3` divides those whose
    wavelength is above original_context_length / low_freq_factor, leaves those below original_context_length /
    high_freq_factor, and goes from the one to the other in between (Llama 3.1, 2024).

    Raises:
        ConfigError: a value out of range.

    >>> RotaryScaling(kind="linear", factor=2.0).factor
    2.0
    """

    kind: Literal["linear", "llama3"]
    """Which frequencies are slowed."""
    factor: float
    """How much slower they become."""
    low_freq_factor: float = 1.0
    """llama3: turns within the original context, below which a frequency is slowed in full."""
    high_freq_factor: float = 4.0
    """llama3: turns within the original context, above which a frequency stays."""
    original_context_length: int = 8192
    """llama3: the context of the first training."""

    def __post_init__(self) -> None:
        if not 1 <= self.factor < math.inf:
            raise ConfigError(f"rotary_scaling.factor must be at least 1; got {self.factor}")
        if not 0 < self.low_freq_factor < self.high_freq_factor < math.inf:
            raise ConfigError(
                f"rotary_scaling.low_freq_factor must be above 0 and below high_freq_factor; "
                f"got {self.low_freq_factor} and {self.high_freq_factor}"
            )
        if not 1 <= self.original_context_length <= 1 << 24:
            raise ConfigError(
                f"rotary_scaling.original_context_length must be between 1 and {1 << 24}; "
                f"got {self.original_context_length}"
            )


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
    """Width of the feedforward layer; 0: 4 d_model, or 8/3 d_model, rounded up to a multiple of 32, for swiglu."""
    activation: Literal["relu", "gelu", "relu_squared", "swiglu"] = "swiglu"
    """The feedforward layer's nonlinearity; gelu is GPT-2's tanh form, swiglu Llama's gated unit."""
    norm: Literal["layer", "rms", "rms_gain"] = "rms"
    """LayerNorm, or RMSNorm without or with a learned gain."""
    norm_epsilon: float = 1e-5
    """What is added to the variance or the mean square before its root, so that no norm divides by 0."""
    norm_order: Literal["pre", "post"] = "pre"
    """Norm before each sublayer (GPT-2), or after each sum (Vaswani et al.)."""
    positions: Literal["learned", "sinusoidal", "rotary"] = "rotary"
    """How the model knows where a token stands."""
    rotary_theta: float = 10_000.0
    """Base of the rotary frequencies."""
    rotary_scaling: RotaryScaling | None = None
    """How the rotary frequencies are slowed for contexts longer than those of the first training; None: not."""
    attention: Literal["causal", "full"] = "causal"
    """Whether a position sees itself and those before it, as text is generated, or all (no generation, no cache)."""
    window: int = 0
    """A position sees itself and the window - 1 positions before it; 0: all before it."""
    embed_scale: bool = False
    """Embeddings times sqrt(d_model), before positions are added (Vaswani et al.)."""
    embed_norm: bool = True
    """Norm on the embeddings, before the first block."""
    qk_norm: bool = True
    """Norm on each query and key, so that attention scores stay bounded."""
    bias: bool = False
    """Biases in the linear layers and the norms."""
    tied_embeddings: bool = False
    """Whether embed and unembed are one matrix."""
    unembed_bias: bool = False
    """A bias for every token in the final linear layer."""
    dropout: float = 0.0
    """Share of what each sublayer adds that is dropped in training, against learning a small text by heart."""
    embed_dropout: float = 0.0
    """Share of what enters the first block that is dropped in training."""

    def __post_init__(self) -> None:
        for name, value in check(ModelConfig, vars(self), "model").items():
            object.__setattr__(self, name, value)
        if not self.d_head and self.d_model % max(self.n_heads, 1):
            raise ConfigError(
                f"model.d_model = {self.d_model} is not a multiple of n_heads = {self.n_heads}; "
                f"change one of them, or give d_head"
            )
        d_head = self.d_head or self.d_model // max(self.n_heads, 1)
        d_mlp = 32 * math.ceil(self.d_model / 12) if self.activation == "swiglu" else 4 * self.d_model
        fill_zeros(self, n_kv_heads=self.n_heads, d_head=d_head, d_value=d_head, d_mlp=d_mlp)
        _refuse_out_of_range(self)
        _refuse_contradictions(self)


def _refuse_out_of_range(config: ModelConfig) -> None:
    for field in dataclasses.fields(config):
        value, least = getattr(config, field.name), 0 if field.name == "window" else 1
        if type(value) is int and not least <= value <= 1 << 24:
            raise ConfigError(f"model.{field.name} must be between {least} and {1 << 24}; got {value}")
    for name in ("rotary_theta", "norm_epsilon"):
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"model.{name} must be above 0; got {getattr(config, name)}")
    for name in ("dropout", "embed_dropout"):
        if not 0 <= getattr(config, name) < 1:
            raise ConfigError(f"model.{name} must be at least 0 and below 1; got {getattr(config, name)}")


def _refuse_contradictions(config: ModelConfig) -> None:
    """Refuse values that are fine one by one, and together mean nothing."""
    rotary = config.positions == "rotary"
    smallest_normed = min(config.d_model, config.d_head if config.qk_norm else config.d_model)
    contradictions = (
        (
            config.n_heads % config.n_kv_heads != 0,
            f"n_heads = {config.n_heads} is not a multiple of n_kv_heads = {config.n_kv_heads}: "
            f"each head of keys serves as many heads of queries",
        ),
        (
            rotary and config.d_head % 2 != 0,
            f"positions = rotary turns pairs of numbers: d_head = {config.d_head} must be even",
        ),
        (
            config.positions == "sinusoidal" and config.d_model % 2 != 0,
            f"positions = sinusoidal has a cosine for every sine: d_model = {config.d_model} must be even",
        ),
        (
            not rotary and config.rotary_theta != ModelConfig.rotary_theta,
            f"rotary_theta = {config.rotary_theta} turns nothing, since positions = {config.positions}",
        ),
        (
            not rotary and config.rotary_scaling is not None,
            f"rotary_scaling slows nothing, since positions = {config.positions}",
        ),
        (
            config.window > 0 and config.attention == "full",
            f"window = {config.window} looks back from a position, but attention = full looks both ways",
        ),
        (
            config.window > config.context_length,
            f"window = {config.window} is wider than context_length = {config.context_length}; 0 is no window",
        ),
        (
            config.embed_scale and config.embed_norm and rotary,
            "embed_scale changes nothing, since embed_norm norms the embeddings at once",
        ),
        (
            config.norm == "layer" and smallest_normed == 1,
            f"norm = layer makes 0 of a single number: d_model = {config.d_model}, and d_head = {config.d_head} "
            f"where there is a qk_norm, must be above 1",
        ),
    )
    for contradicts, reason in contradictions:
        if contradicts:
            raise ConfigError(f"model.{reason}")


FORMS: dict[str, dict[str, Any]] = {
    "onward": {
        "activation": "swiglu",
        "norm": "rms",
        "norm_order": "pre",
        "positions": "rotary",
        "embed_norm": True,
        "qk_norm": True,
    },
    "vaswani": {
        "activation": "relu",
        "norm": "layer",
        "norm_order": "post",
        "positions": "sinusoidal",
        "embed_scale": True,
        "embed_norm": False,
        "qk_norm": False,
        "bias": True,
        "unembed_bias": True,
    },
    "gpt2": {
        "activation": "gelu",
        "norm": "layer",
        "norm_order": "pre",
        "positions": "learned",
        "embed_norm": False,
        "qk_norm": False,
        "bias": True,
        "tied_embeddings": True,
    },
    "llama": {
        "activation": "swiglu",
        "norm": "rms_gain",
        "norm_order": "pre",
        "positions": "rotary",
        "embed_norm": False,
        "qk_norm": False,
    },
}
"""What the articles draw, by name: one Decoder each. "onward" is the one that learns fastest, and the default.

Sources: Vaswani et al., Attention Is All You Need, 2017, as a decoder; Radford et al., GPT-2, 2019; Touvron et al.,
Llama, 2023.
"""

_GPT2 = {"vocab_size": 50257, "context_length": 1024}
_SMOLLM2 = {"vocab_size": 49152, "context_length": 8192, "rotary_theta": 100_000.0, "tied_embeddings": True}

_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "onward": {
        "tiny": {"n_layers": 2, "d_model": 64, "n_heads": 1, "context_length": 64},
        "small": {"n_layers": 4, "d_model": 128, "n_heads": 2, "context_length": 128},
        "base": {"n_layers": 6, "d_model": 384, "n_heads": 6, "context_length": 256},
    },
    "vaswani": {
        "vaswani-mini": {"n_layers": 4, "d_model": 128, "n_heads": 4, "context_length": 128},
        "vaswani": {
            "n_layers": 6,
            "d_model": 512,
            "n_heads": 8,
            "context_length": 512,
            "dropout": 0.1,
            "embed_dropout": 0.1,
        },
    },
    "gpt2": {
        "gpt2-mini": {"n_layers": 4, "d_model": 128, "n_heads": 4, "context_length": 128},
        "gpt2": {"n_layers": 12, "d_model": 768, "n_heads": 12, **_GPT2},
        "gpt2-medium": {"n_layers": 24, "d_model": 1024, "n_heads": 16, **_GPT2},
        "gpt2-large": {"n_layers": 36, "d_model": 1280, "n_heads": 20, **_GPT2},
        "gpt2-xl": {"n_layers": 48, "d_model": 1600, "n_heads": 25, **_GPT2},
    },
    "llama": {
        "llama-mini": {"n_layers": 4, "d_model": 128, "n_heads": 4, "n_kv_heads": 2, "context_length": 128},
        "smollm2-135m": {"n_layers": 30, "d_model": 576, "n_heads": 9, "n_kv_heads": 3, **_SMOLLM2},
        "smollm2-360m": {"n_layers": 32, "d_model": 960, "n_heads": 15, "n_kv_heads": 5, **_SMOLLM2},
        "tinyllama-1.1b": {
            "vocab_size": 32000,
            "context_length": 2048,
            "n_layers": 22,
            "d_model": 2048,
            "n_heads": 32,
            "n_kv_heads": 4,
            "d_mlp": 5632,
        },
        "llama2-7b": {
            "vocab_size": 32000,
            "context_length": 4096,
            "n_layers": 32,
            "d_model": 4096,
            "n_heads": 32,
            "d_mlp": 11008,
        },
    },
}

PRESETS: dict[str, dict[str, Any]] = {
    name: {**FORMS[form], **size} for form, sizes in _SIZES.items() for name, size in sizes.items()
}
"""Sizes by name, those of published models with their published parameter counts.

The small ones have no vocab_size: in training it follows from the text.
"""


def preset(name: str, **changes: Any) -> ModelConfig:
    """The config of a preset, with some fields changed.

    >>> preset("gpt2").d_head
    64
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no size {name!r}; there are {', '.join(PRESETS)}")
    return from_dict(ModelConfig, {**PRESETS[name], **changes}, f"size {name}")


def form_name(config: ModelConfig) -> str:
    """The name of the form that a config has, or "its own".

    >>> form_name(preset("smollm2-135m"))
    'llama'
    """
    return next((form for form, fields in FORMS.items() if fields.items() <= vars(config).items()), "its own")
