"""GGUF, the one-file format of llama.cpp: its header, its tensors (many of them quantised), and what they describe.

The header is read here, so that no count in it, however absurd, costs more memory than the file has bytes; blocks of
quantised numbers are made numbers again by the package `gguf`.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onward.config import from_dict
from onward.errors import CheckpointError, ConfigError
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.folder import fitting
from onward.model.weights import Layout, StoredTensor, make_decoder
from onward.tokenizer import Tokenizer
from onward.tokenizer.gguf import vocabulary_from_gguf

QUANTISATIONS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")
"""The types of tensors that are read."""
_MOST_ENTRIES = 1 << 16
_MOST_ITEMS = 1 << 22
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, kw_only=True)
class GGUF:
    """What a GGUF file holds."""

    path: Path
    """The file."""
    metadata: dict[str, Any]
    """Everything that is said of the model and its tokenizer, by key."""
    tensors: dict[str, StoredTensor]
    """The tensors, read and dequantised when they are asked for."""


def read_gguf(path: Path, device: str, *, tokenizer: bool = True) -> Decoder:
    """Make the decoder that a GGUF file holds, ready to run, its weights as 32-bit numbers.

    Raises:
        CheckpointError: the file is broken, or holds what a Decoder cannot be.
        TokenizerError: its tokenizer is one that onward does not have.
    """
    file = open_gguf(path)
    config = config_from_gguf(file)
    architecture = file.metadata["general.architecture"]
    model = make_decoder(Decoder, config, file.tensors, path, device, _layout(architecture, config))
    if tokenizer and "tokenizer.ggml.model" in file.metadata:
        model.tokenizer = fitting(Tokenizer(vocabulary_from_gguf(file.metadata, path)), config, path)
    return model


# ---- the file ----


def open_gguf(path: Path) -> GGUF:
    """Read the header of a GGUF file.

    Raises:
        CheckpointError: it is missing, cut short, or no GGUF file; or the package `gguf` is not installed.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise CheckpointError(f"{path} is empty") from None
    try:
        return _parse(path, data)
    except (_BrokenError, struct.error, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is cut short or is no GGUF file ({error})") from None


class _BrokenError(Exception):
    """Something in the header that cannot be."""


class _Header:
    """Reads the header piece by piece, never beyond the end of the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def numbers(self, code: str, count: int = 1) -> tuple[Any, ...]:
        layout = f"<{count}{code}"
        values = struct.unpack_from(layout, self.data, self.at)  # struct.error beyond the end
        self.at += struct.calcsize(layout)
        return values

    def count(self, what: str, most: int, code: str = "Q") -> int:
        (count,) = self.numbers(code)
        if count > most:
            raise _BrokenError(f"{count:,} {what}, more than {most:,}")
        return count

    def string(self) -> str:
        length = self.count("bytes of text", len(self.data) - self.at)
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.numbers(_scalar(kind))[0]
        (kind,) = self.numbers("I")
        count = self.count("items in an array", _MOST_ITEMS)
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        return list(self.numbers(_scalar(kind), count))


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise _BrokenError(f"a value of the unknown type {kind}")
    return _SCALARS[kind]


def _parse(path: Path, data: mmap.mmap) -> GGUF:
    header = _Header(data)
    magic, version = header.numbers("I", 2)
    if magic != int.from_bytes(b"GGUF", "little"):
        raise _BrokenError(f"it begins with {data[:4]!r}")
    if version not in (2, 3):
        raise _BrokenError(f"version {version}; onward reads 2 and 3, little-endian")
    n_tensors = header.count("tensors", _MOST_ENTRIES)
    n_keys = header.count("keys", _MOST_ENTRIES)
    metadata: dict[str, Any] = {}
    for _ in range(n_keys):
        key, (kind,) = header.string(), header.numbers("I")
        if key in metadata:
            raise _BrokenError(f"the key {key!r} is there twice")
        metadata[key] = header.value(kind)
    infos = [(header.string(), *_tensor_info(header)) for _ in range(n_tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not (type(alignment) is int and 0 < alignment <= 1 << 20):
        raise _BrokenError(f"general.alignment is {alignment!r}")
    begin = header.at + -header.at % alignment
    tensors: dict[str, StoredTensor] = {}
    for name, shape, kind, offset in infos:
        if name in tensors:
            raise _BrokenError(f"the tensor {name!r} is there twice")
        tensors[name] = _stored(path, data, name, shape, kind, begin + offset)
    return GGUF(path=path, metadata=metadata, tensors=tensors)


def _tensor_info(header: _Header) -> tuple[tuple[int, ...], int, int]:
    """Shape, type and offset; the file has the shape's last axis first."""
    n_axes = header.count("axes of a tensor", 4, "I")
    shape = header.numbers("Q", n_axes)
    (kind,) = header.numbers("I")
    (offset,) = header.numbers("Q")
    return shape[::-1], kind, offset


def _stored(path: Path, data: mmap.mmap, name: str, shape: tuple[int, ...], kind: int, begin: int) -> StoredTensor:
    constants = _gguf().constants
    try:
        quantisation = constants.GGMLQuantizationType(kind)
    except ValueError:
        raise _BrokenError(f"{name} is of the unknown type {kind}") from None
    if quantisation.name not in QUANTISATIONS:
        raise CheckpointError(f"{path}: {name} is of type {quantisation.name}; onward reads {', '.join(QUANTISATIONS)}")
    block, n_block_bytes = constants.GGML_QUANT_SIZES[quantisation]
    if not shape or 0 in shape or shape[-1] % block:
        raise _BrokenError(f"{name} has shape {shape}, whose rows are not made of blocks of {block}")
    n_bytes = math.prod(shape) // block * n_block_bytes
    if begin + n_bytes > len(data):
        raise _BrokenError(f"{name} ends at byte {begin + n_bytes:,}; the file has {len(data):,}")
    return StoredTensor(shape=shape, read=partial(_dequantise, data, begin, n_bytes, shape, quantisation))


def _dequantise(data: mmap.mmap, begin: int, n_bytes: int, shape: tuple[int, ...], quantisation: Any) -> Tensor:
    numbers = np.frombuffer(data, dtype=np.uint8, count=n_bytes, offset=begin).reshape(*shape[:-1], -1)
    weights = _gguf().quants.dequantize(numbers, quantisation)
    return torch.from_numpy(np.require(weights, np.float32, "W"))  # a copy only of what is the file's own bytes


def _gguf() -> Any:
    try:
        import gguf
    except ImportError:
        raise CheckpointError(
            "reading GGUF files needs the extra [gguf]; get it with: pip install 'onward[gguf]'"
        ) from None
    return gguf


# ---- the model ----

_COMMON_KEYS = {
    "context_length": "context_length",
    "n_layers": "block_count",
    "d_model": "embedding_length",
    "n_heads": "attention.head_count",
    "d_mlp": "feed_forward_length",
}
_LLAMA_KEYS = {
    **_COMMON_KEYS,
    "n_kv_heads": "attention.head_count_kv",
    "d_head": "attention.key_length",
    "d_value": "attention.value_length",
    "norm_epsilon": "attention.layer_norm_rms_epsilon",
    "rotary_theta": "rope.freq_base",
}
_KEYS = {"gpt2": {**_COMMON_KEYS, "norm_epsilon": "attention.layer_norm_epsilon"}, "llama": _LLAMA_KEYS}
_FORMS: dict[str, dict[str, Any]] = {
    "gpt2": {"norm": "layer", "activation": "gelu", "positions": "learned", "bias": True},
    "llama": {"norm": "rms_gain", "activation": "swiglu", "positions": "rotary", "bias": False},
}
_SAID_ELSEWHERE = ("vocab_size", "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor")


def config_from_gguf(file: GGUF) -> ModelConfig:
    """The config of the decoder that the metadata describes.

    Raises:
        CheckpointError: another architecture, or something that a Decoder cannot be; with the key and its value.
    """
    name = file.metadata.get("general.architecture")
    if not (isinstance(name, str) and name in _KEYS):
        raise CheckpointError(f"{file.path}: general.architecture is {name!r}; onward reads {', '.join(_KEYS)}")
    said = {key.removeprefix(f"{name}."): v for key, v in file.metadata.items() if key.startswith(f"{name}.")}
    known = _KEYS[name]
    for key in said.keys() - set(known.values()) - set(_SAID_ELSEWHERE):
        if said[key]:  # 0 and false say that the model does without
            raise CheckpointError(f"{file.path}: {name}.{key} is {said[key]!r}, which onward does not have")
    values = {ours: said[theirs] for ours, theirs in known.items() if theirs in said}
    values |= {"vocab_size": _vocab_size(file), "embed_norm": False, "qk_norm": False}
    values["tied_embeddings"] = "output.weight" not in file.tensors
    if (scaling := said.get("rope.scaling.type", "none")) != "none":
        values["rotary_scaling"] = {"kind": scaling, "factor": said.get("rope.scaling.factor")}
    try:
        config = from_dict(ModelConfig, {**_FORMS[name], **values}, str(file.path))
    except ConfigError as error:
        raise CheckpointError(f"{file.path}: as a model of onward, {error}") from None
    if said.get("rope.dimension_count", config.d_head) != config.d_head:
        raise CheckpointError(
            f"{file.path}: {name}.rope.dimension_count is {said['rope.dimension_count']}; "
            f"onward turns whole heads only, here of {config.d_head}"
        )
    return config


def _vocab_size(file: GGUF) -> int:
    if (embed := file.tensors.get("token_embd.weight")) is None:
        raise CheckpointError(f"{file.path} lacks token_embd.weight: it is no whole model")
    return embed.shape[0]


_MODULES = {
    "embed": "token_embd",
    "position_embed": "position_embd",
    "blocks.{}.attn_norm": "blk.{}.attn_norm",
    "blocks.{}.attn.o_proj": "blk.{}.attn_output",
    "blocks.{}.mlp_norm": "blk.{}.ffn_norm",
    "blocks.{}.mlp.gate_proj": "blk.{}.ffn_gate",
    "blocks.{}.mlp.up_proj": "blk.{}.ffn_up",
    "blocks.{}.mlp.down_proj": "blk.{}.ffn_down",
    "final_norm": "output_norm",
    "unembed": "output",
}


def _layout(architecture: str, config: ModelConfig) -> Layout:
    """In a GGUF, the two numbers that llama's rotation pairs are neighbours; with us they are half a head apart."""
    projections = [f"blocks.{{}}.attn.{x}_proj" for x in "qkv"]
    if architecture == "gpt2":
        return Layout(modules={**_MODULES, **dict.fromkeys(projections, "blk.{}.attn_qkv")})

    def turn(name: str, weight: Tensor, pairs: tuple[int, int]) -> Tensor:
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return weight
        return weight.reshape(-1, *pairs, weight.shape[1]).transpose(1, 2).flatten(0, 2)

    half = config.d_head // 2
    return Layout(
        modules={**_MODULES, **{ours: f"blk.{{}}.attn_{x}" for ours, x in zip(projections, "qkv", strict=True)}},
        to_theirs=partial(turn, pairs=(2, half)),
        to_ours=partial(turn, pairs=(half, 2)),
    )
