"""A model is a folder: config.json, model.safetensors, tokenizer.json.

Where only low-rank adapters were learned, a checkpoint holds adapters.safetensors instead, and the model that they are
of is in the folder `base` of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from onward.config import check_format, from_dict, read_json, to_dict, write_json
from onward.errors import CheckpointError, ConfigError
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.linear import LoRA
from onward.model.lora import add_adapters, merge_adapters
from onward.model.weights import fill, make_decoder, own_weights, stored_safetensors
from onward.tokenizer import Tokenizer

FORMAT_VERSION = 1
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
ADAPTERS, BASE = "adapters.safetensors", "base"


def write_model_folder(folder: Path, model: Decoder, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write the model's config, weights (or those given, such as an earlier copy) and tokenizer into `folder`."""
    lora = {} if model.lora is None else {"lora": to_dict(model.lora)}
    values = {"format": FORMAT_VERSION, "architecture": "decoder", "model": to_dict(model.config), **lora}
    write_json(folder / CONFIG, values)
    write_tensors(folder / (ADAPTERS if lora else WEIGHTS), own_weights(model) if weights is None else weights)
    if model.tokenizer is not None:
        model.tokenizer.save(folder / TOKENIZER)


def read_model_folder(
    folder: Path, architectures: Mapping[str, type[Decoder]], device: str, *, tokenizer: bool = True
) -> Decoder:
    """Make the model that `folder` holds, its weights loaded and its tokenizer set, ready to run; adapters are merged.

    Args:
        folder: a model folder.
        architectures: the class of each architecture, by name.
        device: where the weights go.
        tokenizer: whether to set the tokenizer too.

    Raises:
        CheckpointError: a file is missing, cut short, or holds something else than the config says.
    """
    architecture, config = read_model_config(folder)
    if architecture not in architectures:
        raise CheckpointError(f"{folder / CONFIG}: no architecture {architecture!r}; known: {', '.join(architectures)}")
    lora = read_lora(folder)
    path = (folder if lora is None else _base_of(folder, config)) / WEIGHTS
    model = make_decoder(architectures[architecture], config, stored_safetensors(path), path, device)
    if lora is not None:
        add_adapters(model, lora)
        load_weights(model, folder)
        merge_adapters(model)
        model.requires_grad_(False)
    if tokenizer and (folder / TOKENIZER).exists():
        model.tokenizer = fitting(Tokenizer.load(folder / TOKENIZER), config, folder)
    return model


def read_model_config(folder: Path) -> tuple[str, ModelConfig]:
    """The architecture and the config of the model that `folder` holds."""
    path = folder / CONFIG
    try:
        values = read_json(path)
        if not (isinstance(values.get("architecture"), str) and isinstance(values.get("model"), dict)):
            raise CheckpointError(f"{path} is not the config of an onward model; its keys: {', '.join(values)}")
        check_format(values, FORMAT_VERSION, str(path))
        return values["architecture"], from_dict(ModelConfig, values["model"], str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def read_lora(folder: Path) -> LoRA | None:
    """What the adapters in `folder` are like, if it holds adapters and not whole weights.

    Raises:
        CheckpointError: config.json cannot be read.
    """
    path = folder / CONFIG
    try:
        values = read_json(path).get("lora")
        if values is None:
            return None
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: lora must be an object; got {values!r}")
        return from_dict(LoRA, values, f"{path}: lora")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _base_of(folder: Path, config: ModelConfig) -> Path:
    """The folder of the model that a checkpoint's adapters are of."""
    base = folder.absolute().parent.parent / BASE
    if not (base / CONFIG).is_file():
        raise CheckpointError(
            f"{folder} holds adapters alone, and the model that they are of is not in {base}; keep the run folder "
            f"whole, and make a model of its own from it with: onward convert RUN FOLDER"
        )
    if read_model_config(base)[1] != config:
        raise CheckpointError(f"the adapters in {folder} are not of the model in {base}: their configs differ")
    return base


def load_weights(model: Decoder, folder: Path) -> None:
    """Fill the model's weights from `folder`; of one with adapters, those alone.

    Raises:
        CheckpointError: a tensor is missing, not the model's, of another shape, or not finite; each is named.
    """
    path = folder / (WEIGHTS if model.lora is None else ADAPTERS)
    fill(model, stored_safetensors(path), path)


def fitting(tokenizer: Tokenizer, config: ModelConfig, where: Path) -> Tokenizer:
    """The tokenizer, if the model has all its tokens.

    Raises:
        CheckpointError: it has tokens that the model does not.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has {tokenizer.vocab_size} tokens and the model {config.vocab_size}: "
            f"the tokenizer belongs to another model"
        )
    return tokenizer


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write named tensors as a safetensors file.

    Raises:
        OSError: the file cannot be written, for example on a full disk.
    """
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from None


def read_tensors(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: the file is missing, cut short, or no safetensors file.
    """
    try:
        tensors: dict[str, Any] = load_file(path, device=str(device))
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}: the checkpoint is not whole") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is cut short or is no safetensors file ({error})") from None
    return tensors
