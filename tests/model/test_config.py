from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onward.config import from_dict, read_toml, to_dict, write_toml
from onward.errors import ConfigError
from onward.model.config import FORMS, PRESETS, ModelConfig, form_name, preset
from onward.model.decoder import Decoder, count_parameters
from onward.model.init import initialise

SIZES: dict[str, Any] = {"vocab_size": 50, "context_length": 16, "n_layers": 2, "d_model": 16, "n_heads": 4}

# As run.toml was written before there were forms: every field of that time.
OLD: dict[str, Any] = {
    "n_kv_heads": 4,
    "d_head": 4,
    "d_value": 4,
    "d_mlp": 64,
    "activation": "relu_squared",
    "norm": "rms",
    "norm_order": "pre",
    "positions": "rotary",
    "rotary_theta": 10000.0,
    "embed_norm": True,
    "qk_norm": True,
    "bias": False,
    "tied_embeddings": False,
    "dropout": 0.0,
} | SIZES
OLD_GPT2 = {"activation": "gelu", "norm": "layer", "positions": "learned", "qk_norm": False, "embed_norm": False} | {
    "bias": True,
    "tied_embeddings": True,
}
OLD_POST = {"norm": "layer", "norm_order": "post", "positions": "sinusoidal", "activation": "relu"} | {
    "bias": True,
    "dropout": 0.1,
}


@pytest.mark.parametrize(
    ("changes", "weights"),
    [({}, 1005.0986638361647), (OLD_GPT2, 453.3580362975182), (OLD_POST, 1101.0986638361646)],
    ids=["default", "gpt2", "post-norm"],
)
def test_an_old_config_makes_the_model_that_it_made(tmp_path: Path, changes: dict[str, Any], weights: float) -> None:
    """Its first weights have the sum of absolute values that they had then, when all models began with unembed at 0."""
    write_toml(tmp_path / "run.toml", OLD | changes)
    config = from_dict(ModelConfig, read_toml(tmp_path / "run.toml"), "run.toml")
    if not changes:
        assert config == ModelConfig(**SIZES, activation="relu_squared")  # the default of that time
    model = Decoder(config)
    initialise(model, seed=1)
    others = [weight.detach() for name, weight in model.named_parameters() if name != "unembed.weight"]
    assert not (model.unembed.weight.any() and config.norm_order == "pre" and not config.tied_embeddings)
    found = sum(float(weight.double().abs().sum()) for weight in others)
    assert found == pytest.approx(weights, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("smollm2-135m", 134_515_008),
        ("smollm2-360m", 361_821_120),
        ("tinyllama-1.1b", 1_100_048_384),
        ("llama2-7b", 6_738_415_616),
    ],
)
def test_published_parameter_counts(name: str, published: int) -> None:
    assert count_parameters(preset(name)) == published


def test_parameters_of_the_first_transformers_decoder_by_hand() -> None:
    """Vaswani et al.'s base: attention, a layer of 2048 and two norms, six times; embed, and unembed with a bias."""
    attention, mlp, norms = 4 * (512 * 512 + 512), 512 * 2048 + 2048 + 2048 * 512 + 512, 2 * 2 * 512
    expected = 6 * (attention + mlp + norms) + 37000 * 512 + 37000 * (512 + 1)
    assert count_parameters(preset("vaswani", vocab_size=37000)) == expected


@pytest.mark.parametrize("name", PRESETS)
def test_every_size_has_a_form_by_name(name: str) -> None:
    config = preset(name, **{"vocab_size": 512, **PRESETS[name]})
    assert form_name(config) in FORMS
    assert from_dict(ModelConfig, to_dict(config), "config") == config


def test_forms_are_told_apart() -> None:
    assert {form: form_name(ModelConfig(**SIZES, **fields)) for form, fields in FORMS.items()} == {f: f for f in FORMS}
    assert form_name(ModelConfig(**SIZES)) == "onward"
    assert form_name(ModelConfig(**SIZES, norm="layer")) == "its own"


def test_defaults_that_depend_on_others() -> None:
    config = ModelConfig(**SIZES)
    assert (config.n_kv_heads, config.d_head, config.d_value, config.d_mlp) == (4, 4, 4, 64)
    assert ModelConfig(**SIZES, d_head=6).d_value == 6
    gated = {width: ModelConfig(**SIZES | {"d_model": width}, activation="swiglu").d_mlp for width in (64, 576, 768)}
    assert gated == {64: 192, 576: 1536, 768: 2048}  # 8/3 of the width, at least; SmolLM2's 1536 among them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 0}, "model.n_heads must be between 1 and"),
        ({"d_model": -4}, "model.d_model must be between 1 and"),
        ({"vocab_size": 1 << 40}, "model.vocab_size must be between 1 and"),
        ({"window": -1}, "model.window must be between 0 and"),
        ({"norm_epsilon": 0.0}, "model.norm_epsilon must be above 0"),
        ({"norm_epsilon": float("nan")}, "model.norm_epsilon must be above 0"),
        ({"rotary_theta": float("inf")}, "model.rotary_theta must be above 0"),
        ({"dropout": 1.0}, "model.dropout must be at least 0 and below 1"),
        ({"embed_dropout": -0.1}, "model.embed_dropout must be at least 0 and below 1"),
        ({"d_model": 18}, "d_model = 18 is not a multiple of n_heads = 4; change one of them, or give d_head"),
        ({"n_kv_heads": 3}, "n_heads = 4 is not a multiple of n_kv_heads = 3"),
        ({"d_head": 3}, "positions = rotary turns pairs of numbers: d_head = 3 must be even"),
        ({"positions": "sinusoidal", "d_model": 15, "d_head": 4}, "a cosine for every sine: d_model = 15 must be even"),
        (
            {"positions": "learned", "rotary_theta": 5e5},
            "rotary_theta = 500000.0 turns nothing, since positions = lear",
        ),
        ({"attention": "full", "window": 4}, "window = 4 looks back from a position, but attention = full"),
        ({"window": 17}, "window = 17 is wider than context_length = 16; 0 is no window"),
        ({"embed_scale": True}, "embed_scale changes nothing, since embed_norm norms the embeddings at once"),
        ({"norm": "layer", "d_head": 1, "positions": "learned"}, "norm = layer makes 0 of a single number"),
    ],
)
def test_configs_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**SIZES | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layer": 3}, r"size small: unknown key 'n_layer' \(did you mean 'n_layers'\?\)"),
        ({"activation": "swish"}, "activation must be one of relu, gelu, relu_squared, swiglu; got 'swish'"),
        ({"norm": "rmsnorm"}, "norm must be one of layer, rms, rms_gain; got 'rmsnorm'"),
        ({"attention": "sliding"}, "attention must be one of causal, full; got 'sliding'"),
        ({"n_layers": 2.0}, "n_layers must be of type int; got 2.0"),
        ({"window": True}, "window must be of type int; got True"),
    ],
)
def test_unknown_keys_and_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preset("small", vocab_size=50, **changes)


def test_a_size_without_a_vocabulary_asks_for_it() -> None:
    with pytest.raises(ConfigError, match="size small: the key 'vocab_size' is missing"):
        preset("small")


def test_unknown_size() -> None:
    with pytest.raises(ConfigError, match="no size 'huge'; there are tiny, small"):
        preset("huge")


ANY_CONFIG = st.fixed_dictionaries(
    {
        "vocab_size": st.integers(1, 9),
        "context_length": st.integers(1, 9),
        "n_layers": st.integers(1, 2),
        "d_model": st.integers(1, 9),
        "n_heads": st.integers(1, 4),
    },
    optional={
        "n_kv_heads": st.integers(0, 4),
        "d_head": st.integers(0, 5),
        "d_value": st.integers(0, 5),
        "activation": st.sampled_from(["relu", "gelu", "relu_squared", "swiglu"]),
        "norm": st.sampled_from(["layer", "rms", "rms_gain"]),
        "norm_order": st.sampled_from(["pre", "post"]),
        "positions": st.sampled_from(["learned", "sinusoidal", "rotary"]),
        "attention": st.sampled_from(["causal", "full"]),
        "window": st.integers(0, 9),
        **dict.fromkeys(
            ["embed_norm", "embed_scale", "qk_norm", "bias", "tied_embeddings", "unembed_bias"], st.booleans()
        ),
    },
)


@settings(deadline=None, max_examples=60)
@given(ANY_CONFIG)
def test_a_config_is_refused_or_works(fields: dict[str, Any]) -> None:
    """Whatever is put together: a ConfigError, or a model with finite logits."""
    try:
        config = ModelConfig(**fields)
    except ConfigError:
        return
    model = Decoder(config)
    initialise(model, seed=1)
    tokens = torch.arange(config.context_length).unsqueeze(0) % config.vocab_size
    assert bool(model(tokens).isfinite().all())
