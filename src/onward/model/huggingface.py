"""Hugging Face's model folders, both ways: configs, weight names and layouts of gpt2, llama, qwen3 and nanochat.

An architecture is a table: what of a ModelConfig its config.json says under which key, and what holds for every model
of it. A config of ours is written as the first architecture that is the same function.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onward.config import from_dict, read_json, write_json
from onward.errors import CheckpointError, ConfigError, TokenizerError
from onward.model.config import ModelConfig, RotaryScaling
from onward.model.decoder import Decoder
from onward.model.folder import CONFIG, TOKENIZER, WEIGHTS, fitting, write_tensors
from onward.model.position import sinusoidal_table
from onward.model.weights import Layout, StoredTensor, blueprint, make_decoder, own_weights, stored_safetensors
from onward.tokenizer.gguf import MODEL_ALONE
from onward.tokenizer.tokenizer import Tokenizer

INDEX = "model.safetensors.index.json"
_SENTENCE_PIECE = "tokenizer.model"

Values = Mapping[str, Any]


# ---- the weights ----


def _gpt2_layout(_config: ModelConfig) -> Layout:
    """GPT-2's linear layers hold their weights transposed, and the projections of q, k and v side by side."""

    def turn(name: str, weight: Tensor) -> Tensor:
        return weight.t() if name.endswith("proj.weight") else weight

    return Layout(
        modules={
            "embed": "transformer.wte",
            "position_embed": "transformer.wpe",
            "blocks.{}.attn_norm": "transformer.h.{}.ln_1",
            "blocks.{}.attn.q_proj": "transformer.h.{}.attn.c_attn",
            "blocks.{}.attn.k_proj": "transformer.h.{}.attn.c_attn",
            "blocks.{}.attn.v_proj": "transformer.h.{}.attn.c_attn",
            "blocks.{}.attn.o_proj": "transformer.h.{}.attn.c_proj",
            "blocks.{}.mlp_norm": "transformer.h.{}.ln_2",
            "blocks.{}.mlp.up_proj": "transformer.h.{}.mlp.c_fc",
            "blocks.{}.mlp.down_proj": "transformer.h.{}.mlp.c_proj",
            "final_norm": "transformer.ln_f",
            "unembed": "lm_head",
        },
        to_theirs=turn,
        to_ours=turn,
        ignored=re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)"),
    )


_LLAMA_MODULES = {
    "embed": "model.embed_tokens",
    "blocks.{}.attn_norm": "model.layers.{}.input_layernorm",
    **{f"blocks.{{}}.attn.{x}_proj": f"model.layers.{{}}.self_attn.{x}_proj" for x in "qkvo"},
    "blocks.{}.mlp_norm": "model.layers.{}.post_attention_layernorm",
    **{f"blocks.{{}}.mlp.{x}_proj": f"model.layers.{{}}.mlp.{x}_proj" for x in ("gate", "up", "down")},
    "final_norm": "model.norm",
    "unembed": "lm_head",
}


def _llama_layout(_config: ModelConfig) -> Layout:
    return Layout(modules=_LLAMA_MODULES, ignored=re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"))


def _qwen3_layout(_config: ModelConfig) -> Layout:
    norms = {f"blocks.{{}}.attn.{x}_norm": f"model.layers.{{}}.self_attn.{x}_norm" for x in "qk"}
    return Layout(modules={**_LLAMA_MODULES, **norms})


def _nanochat_layout(config: ModelConfig) -> Layout:
    """Nanochat turns queries and keys the other way round, which is our way with the halves of each head swapped."""

    def swap(name: str, weight: Tensor) -> Tensor:
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return weight
        return weight.reshape(-1, 2, config.d_head // 2, weight.shape[1]).flip(1).flatten(0, 2)

    fc = {"blocks.{}.mlp.up_proj": "model.layers.{}.mlp.fc1", "blocks.{}.mlp.down_proj": "model.layers.{}.mlp.fc2"}
    return Layout(modules={**_LLAMA_MODULES, **fc}, to_theirs=swap, to_ours=swap)


# ---- the config ----


@dataclass(frozen=True, kw_only=True)
class _Architecture:
    """What a config.json of one architecture says, and what goes without saying."""

    class_name: str
    """Its class in transformers."""
    keys: dict[str, tuple[str, Any]]
    """Of each field of ModelConfig: their key, and the value where that is not there."""
    always: dict[str, Any]
    """Fields that are the same in every model of the architecture."""
    only: dict[str, Any]
    """Keys that may have one value alone, which is also the value where they are not there."""
    activations: dict[str, str]
    """Their names of activations, the one to write first; and ours."""
    layout: Callable[[ModelConfig], Layout]
    """Names and layout of the weights."""
    rotary: bool = True
    """Whether positions are rotary, with rope_theta and rope_scaling."""


_COMMON: dict[str, Any] = {"norm_order": "pre", "attention": "causal", "window": 0, "unembed_bias": False}
_LLAMA_KEYS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("vocab_size", 32000),
    "context_length": ("max_position_embeddings", 2048),
    "n_layers": ("num_hidden_layers", 32),
    "d_model": ("hidden_size", 4096),
    "n_heads": ("num_attention_heads", 32),
    "n_kv_heads": ("num_key_value_heads", None),
    "d_head": ("head_dim", None),
    "d_mlp": ("intermediate_size", 11008),
    "activation": ("hidden_act", "silu"),
    "norm_epsilon": ("rms_norm_eps", 1e-6),
    "tied_embeddings": ("tie_word_embeddings", False),
}

_LLAMA_BIASES = ("attention_bias", "mlp_bias")

ARCHITECTURES = {
    "gpt2": _Architecture(
        class_name="GPT2LMHeadModel",
        keys={
            "vocab_size": ("vocab_size", 50257),
            "context_length": ("n_positions", 1024),
            "n_layers": ("n_layer", 12),
            "d_model": ("n_embd", 768),
            "n_heads": ("n_head", 12),
            "d_mlp": ("n_inner", None),
            "activation": ("activation_function", "gelu_new"),
            "norm_epsilon": ("layer_norm_epsilon", 1e-5),
            "tied_embeddings": ("tie_word_embeddings", True),
        },
        always={
            **_COMMON,
            "norm": "layer",
            "positions": "learned",
            "embed_norm": False,
            "qk_norm": False,
            "bias": True,
        },
        only={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
        activations={
            "gelu_new": "gelu",
            "gelu_pytorch_tanh": "gelu",
            "gelu_fast": "gelu",
            "relu": "relu",
            "relu2": "relu_squared",
        },
        layout=_gpt2_layout,
        rotary=False,
    ),
    "llama": _Architecture(
        class_name="LlamaForCausalLM",
        keys={**_LLAMA_KEYS, "bias": ("attention_bias", False)},
        always={**_COMMON, "norm": "rms_gain", "positions": "rotary", "embed_norm": False, "qk_norm": False},
        only={},
        activations={"silu": "swiglu"},
        layout=_llama_layout,
    ),
    "qwen3": _Architecture(
        class_name="Qwen3ForCausalLM",
        keys={
            **_LLAMA_KEYS,
            "vocab_size": ("vocab_size", 151936),
            "context_length": ("max_position_embeddings", 32768),
            "n_kv_heads": ("num_key_value_heads", 32),
            "d_head": ("head_dim", 128),
            "d_mlp": ("intermediate_size", 22016),
        },
        always={
            **_COMMON,
            "norm": "rms_gain",
            "positions": "rotary",
            "embed_norm": False,
            "qk_norm": True,
            "bias": False,
        },
        only={"attention_bias": False, "use_sliding_window": False},
        activations={"silu": "swiglu"},
        layout=_qwen3_layout,
    ),
    "nanochat": _Architecture(
        class_name="NanoChatForCausalLM",
        keys={**_LLAMA_KEYS, "activation": ("hidden_act", "relu2")},
        always={**_COMMON, "norm": "rms", "positions": "rotary", "embed_norm": True, "qk_norm": True, "bias": False},
        only={"attention_bias": False, "final_logit_softcapping": None},
        activations={"relu2": "relu_squared", "relu": "relu", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu"},
        layout=_nanochat_layout,
    ),
}
"""By the name that config.json gives as model_type."""


def is_huggingface(values: Values) -> bool:
    """Whether this config.json is one of Hugging Face's, and not of ours."""
    return "model_type" in values and "architecture" not in values


def config_from_huggingface(values: Values, where: Path) -> ModelConfig:
    """The config of the decoder that a config.json of Hugging Face describes.

    Raises:
        CheckpointError: another architecture, or something in it that a Decoder cannot be; with the key and its value.
    """
    name = values.get("model_type")
    if not (isinstance(name, str) and name in ARCHITECTURES):
        raise CheckpointError(f"{where}: model_type is {name!r}; onward reads {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[name]
    for key, value in {**architecture.only, "quantization_config": None, "is_encoder_decoder": False}.items():
        if values.get(key, value) != value:
            raise CheckpointError(f"{where}: {key} is {values[key]!r}; onward has {key} = {value!r} only")
    if name == "llama" and (biases := [values.get(key, False) for key in _LLAMA_BIASES])[0] != biases[1]:
        raise CheckpointError(f"{where}: {' and '.join(_LLAMA_BIASES)} are {biases}; onward has all biases or none")
    read = {ours: values.get(theirs, default) for ours, (theirs, default) in architecture.keys.items()}
    theirs = architecture.keys["activation"][0]
    if read["activation"] not in list(architecture.activations):
        known = ", ".join(architecture.activations)
        raise CheckpointError(f"{where}: {theirs} is {read['activation']!r}; of {name}, onward has {known}")
    read["activation"] = architecture.activations[read["activation"]]
    if architecture.rotary:
        read |= _read_rotary(values, where)
    read = {ours: value for ours, value in read.items() if value is not None}  # the others follow from these
    try:
        return from_dict(ModelConfig, {**architecture.always, **read}, str(where))
    except ConfigError as error:
        raise CheckpointError(f"{where}: as a model of onward, {error}") from None


def _read_rotary(values: Values, where: Path) -> dict[str, Any]:
    """What is said of rotary positions: under rope_parameters, or in older files under rope_theta and rope_scaling."""
    said = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(said, dict):
        raise CheckpointError(f"{where}: rope_parameters is {said!r}; expected an object")
    kind = said.get("rope_type", said.get("type", "default"))
    read: dict[str, Any] = {"rotary_theta": said.get("rope_theta", values.get("rope_theta", 10_000.0))}
    if said.get("partial_rotary_factor", values.get("partial_rotary_factor", 1.0)) != 1.0:
        raise CheckpointError(f"{where}: partial_rotary_factor is not 1; onward turns whole heads only")
    if kind == "default":
        return read
    if kind not in ("linear", "llama3"):
        raise CheckpointError(f"{where}: the rope_type is {kind!r}; onward has default, linear and llama3")
    scaling = {"kind": kind, "factor": said.get("factor")}
    if kind == "llama3":
        original = said.get("original_max_position_embeddings", values.get("max_position_embeddings"))
        scaling |= {name: said.get(name) for name in ("low_freq_factor", "high_freq_factor")}
        scaling["original_context_length"] = original
    return {**read, "rotary_scaling": scaling}


def config_to_huggingface(config: ModelConfig) -> dict[str, Any]:
    """The config.json of the first architecture that can be this model exactly.

    A model without biases becomes one whose biases are 0, one without gains one whose gains are 1, sinusoidal positions
    become learned ones with the same table, and a norm of the embeddings is done once, before they are written; so
    these architectures can be more than they seem.

    Raises:
        ConfigError: none can; with what stands in the way.

    >>> from onward.model.config import preset
    >>> config_to_huggingface(preset("gpt2"))["model_type"]
    'gpt2'
    """
    obstacles = {}
    for name, architecture in ARCHITECTURES.items():
        values = _write_config(config, name, architecture)
        try:
            twin = config_from_huggingface(values, Path(CONFIG))
        except CheckpointError as error:
            obstacles[name] = [str(error)]
            continue
        obstacles[name] = [
            f"{ours.name} = {getattr(config, ours.name)}"
            for ours in dataclasses.fields(ModelConfig)
            if getattr(config, ours.name) != getattr(twin, ours.name) and not _is_neutral(ours.name, config, twin)
        ]
        if config.d_model % config.n_heads:
            obstacles[name].append("d_model is not a multiple of n_heads")
        if not obstacles[name]:
            return values
    reasons = "; ".join(f"{name} has no {', '.join(found)}" for name, found in obstacles.items())
    raise ConfigError(f"no architecture of Hugging Face that onward writes can be this model: {reasons}")


def _write_config(config: ModelConfig, name: str, architecture: _Architecture) -> dict[str, Any]:
    values = {theirs: getattr(config, ours) for ours, (theirs, _) in architecture.keys.items()}
    activation = architecture.keys["activation"][0]
    known = {ours: theirs for theirs, ours in reversed(architecture.activations.items())}
    values[activation] = known.get(config.activation, next(iter(architecture.activations)))
    if name == "llama":
        values["mlp_bias"] = config.bias
    if _is_normed_once(config, architecture.always):
        values[architecture.keys["tied_embeddings"][0]] = False
    if architecture.rotary:
        values["rope_theta"] = config.rotary_theta
        values["rope_scaling"] = _write_scaling(config.rotary_scaling)
    return {
        "architectures": [architecture.class_name],
        "model_type": name,
        "dtype": "float32",
        **architecture.only,
        **values,
    }


def _write_scaling(scaling: RotaryScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    if scaling.kind == "linear":
        return {"rope_type": "linear", "factor": scaling.factor}
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_context_length,
    }


def _is_neutral(field: str, config: ModelConfig, twin: ModelConfig) -> bool:
    """Whether the twin, which is different in this field, can be the same model for some weights."""
    change = (getattr(config, field), getattr(twin, field))
    if _is_normed_once(config, vars(twin)) and field in ("embed_norm", "tied_embeddings"):
        return True
    return field in ("dropout", "embed_dropout") or (field, *change) in (
        ("bias", False, True),
        ("norm", "rms", "rms_gain"),
        ("positions", "sinusoidal", "learned"),
    )


def _is_normed_once(config: ModelConfig, theirs: Mapping[str, Any]) -> bool:
    """Whether the embeddings are normed when they are written: nothing comes between, and unembed has its own."""
    return config.embed_norm and not theirs["embed_norm"] and config.positions == "rotary" == theirs["positions"]


# ---- folders ----


def read_huggingface_folder(folder: Path, device: str, *, tokenizer: bool = True) -> Decoder:
    """Make the decoder that a folder of Hugging Face's holds, ready to run.

    Raises:
        CheckpointError: a file is missing or broken, or holds what a Decoder cannot be.
        TokenizerError: its tokenizer is one that onward does not have.
    """
    path = folder / CONFIG
    try:
        values = read_json(path)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    config = config_from_huggingface(values, path)
    layout = ARCHITECTURES[values["model_type"]].layout(config)
    where, stored = _stored(folder)
    stored = _with_prefix(stored, layout.modules["embed"].partition(".")[0] + ".")
    if config.tied_embeddings:
        _drop_tied_head(stored, layout.modules, where)
    model = make_decoder(Decoder, config, stored, where, device, layout)
    if tokenizer:
        model.tokenizer = _read_tokenizer(folder, config)
    return model


def write_huggingface_folder(folder: Path, model: Decoder) -> str:
    """Write the model and its tokenizer into `folder`, which exists, for transformers; returns the architecture.

    Raises:
        ConfigError: no architecture of Hugging Face is this model; with what stands in the way.
    """
    if model.lora is not None:
        raise ConfigError("Hugging Face's layouts hold no adapters; merge them into the weights first")
    values = config_to_huggingface(model.config)
    twin = config_from_huggingface(values, folder / CONFIG)
    weights = _widened(model, twin)
    write_tensors(folder / WEIGHTS, ARCHITECTURES[values["model_type"]].layout(twin).write(weights), {"format": "pt"})
    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if model.tokenizer is not None:
        ids = _write_tokenizer(folder, model.tokenizer, model.context_length)
    write_json(folder / CONFIG, {**values, **ids})
    write_json(folder / "generation_config.json", ids)
    return values["model_type"]


def _stored(folder: Path) -> tuple[Path, dict[str, StoredTensor]]:
    """The file that says which tensors the folder has, and the tensors."""
    index = folder / INDEX
    if not index.exists():
        return folder / WEIGHTS, stored_safetensors(folder / WEIGHTS)
    try:
        files = read_json(index).get("weight_map")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if not (isinstance(files, dict) and all(isinstance(name, str) for name in files.values())):
        raise CheckpointError(f"{index} has no weight_map from the names of tensors to files")
    stored: dict[str, StoredTensor] = {}
    for name in sorted(set(files.values())):
        if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise CheckpointError(f"{index} names the file {name!r}; expected a .safetensors file in the same folder")
        shard = stored_safetensors(folder / name)
        if twice := shard.keys() & stored.keys():
            raise CheckpointError(f"{folder / name} has {min(twice)}, which another file of {index} has too")
        stored |= shard
    if lacking := files.keys() - stored.keys():
        raise CheckpointError(f"{index}: {min(lacking)} is not in {files[min(lacking)]}")
    return index, stored


def _with_prefix(stored: dict[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """The tensors, the prefix of whose names is left out in some folders."""
    if any(name.startswith(prefix) for name in stored):
        return stored
    return {name if name.startswith("lm_head.") else prefix + name: tensor for name, tensor in stored.items()}


def _drop_tied_head(stored: dict[str, StoredTensor], modules: Mapping[str, str], where: Path) -> None:
    """Leave out the unembedding of a model whose config ties it to the embedding, if it is the same there."""
    head = stored.pop(f"{modules['unembed']}.weight", None)
    embed = stored.get(f"{modules['embed']}.weight")
    if head is not None and embed is not None and not (head.shape == embed.shape and head.read().equal(embed.read())):
        raise CheckpointError(
            f"{where}: {modules['unembed']}.weight is not {modules['embed']}.weight, though the config ties them; "
            f"set tie_word_embeddings to false"
        )


def _widened(model: Decoder, twin: ModelConfig) -> dict[str, Tensor]:
    """The model's weights on the CPU as those of its twin, and those that it does without.

    They are biases of 0, gains of 1, the table of sinusoidal positions, and an unembedding that was tied.
    """
    weights = own_weights(model)
    if _is_normed_once(model.config, vars(twin)):
        weights.setdefault("unembed.weight", weights["embed.weight"])
        with torch.no_grad():
            weights["embed.weight"] = model.embed_norm(weights["embed.weight"])
    wanted = blueprint(twin)
    for name, empty in wanted.items():
        if name not in weights:
            if name == "position_embed.weight":
                weights[name] = sinusoidal_table(*empty.shape)
            else:
                weights[name] = torch.full(empty.shape, 1.0 if name.endswith("norm.weight") else 0.0)
    return {name: weights[name].float().cpu() for name in wanted}


def _read_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer | None:
    """The tokenizer of the folder, if it has any."""
    try:
        if any((folder / name).exists() for name in (TOKENIZER, "vocab.json", "encoder.json")):
            return fitting(Tokenizer.load(folder), config, folder)
        if (folder / _SENTENCE_PIECE).exists():
            raise TokenizerError(f"{folder / _SENTENCE_PIECE} is SentencePiece's; onward reads byte-level BPE only")
    except TokenizerError as error:
        raise TokenizerError(f"{error}; {MODEL_ALONE}") from None
    return None


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, context_length: int) -> dict[str, Any]:
    """Write the tokenizer as transformers looks for it; returns the ids of its special tokens for the configs."""
    tokenizer.save(folder / TOKENIZER)
    ends = tokenizer.closing_tokens
    begin, end, last = tokenizer.begin_token, tokenizer.end_token, ends[-1] if ends else None
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None if begin is None else tokenizer.pieces([begin])[0],
            "eos_token": None if last is None else tokenizer.pieces([last])[0],
            "model_max_length": context_length,
            "clean_up_tokenization_spaces": False,
        },
    )
    return {"bos_token_id": begin, "eos_token_id": ends if len(ends) > 1 else last, "pad_token_id": end}
