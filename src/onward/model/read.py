"""A decoder from a file or a folder, in whatever form it is: ours, Hugging Face's, GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from onward.config import read_json
from onward.errors import CheckpointError, ConfigError
from onward.model.decoder import Decoder
from onward.model.folder import CONFIG, read_model_folder
from onward.model.gguf import read_gguf
from onward.model.huggingface import is_huggingface, read_huggingface_folder


def read_decoder(
    path: Path, architectures: Mapping[str, type[Decoder]], device: str, *, tokenizer: bool = True
) -> Decoder:
    """The decoder in a model folder of ours or of Hugging Face's, or in a GGUF file, in float32, ready to run.

    Args:
        path: the folder or the file.
        architectures: the class of each architecture that a config.json of ours may name.
        device: where the weights go.
        tokenizer: whether to set its tokenizer too.

    Raises:
        CheckpointError: there is no model, or it is broken, or of a kind that a Decoder cannot be.
        TokenizerError: its tokenizer is one that onward does not have.
    """
    form = form_of(path)
    if form == "gguf":
        return read_gguf(path, device, tokenizer=tokenizer)
    if form == "huggingface":
        return read_huggingface_folder(path, device, tokenizer=tokenizer)
    return read_model_folder(path, architectures, device, tokenizer=tokenizer)


def form_of(path: Path) -> Literal["onward", "huggingface", "gguf"]:
    """Whose form the model at `path` has, by the name of the file, or what config.json holds; ours where it is none.

    Raises:
        CheckpointError: a config.json that cannot be read.
    """
    if path.suffix == ".gguf":
        return "gguf"
    if not (path / CONFIG).is_file():
        return "onward"
    try:
        return "huggingface" if is_huggingface(read_json(path / CONFIG)) else "onward"
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
