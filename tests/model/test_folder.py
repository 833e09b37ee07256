from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from onward.errors import CheckpointError
from onward.library import load
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.folder import own_weights, read_tensors, write_model_folder
from tests.conftest import random_decoder


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Decoder) -> Path:
    write_model_folder(tmp_path, tiny_model)
    return tmp_path


def test_round_trip(folder: Path, tiny_model: Decoder) -> None:
    loaded = load(folder)
    assert loaded.config == tiny_model.config
    assert loaded.tokenizer == tiny_model.tokenizer
    tokens = loaded.to_tokens("Line 7 is about")
    assert torch.equal(loaded(tokens), tiny_model(tokens))
    assert loaded.to_string(tokens) == "<|endoftext|>Line 7 is about"
    assert "".join(loaded.to_str_tokens("Line 7")) == "<|endoftext|>Line 7"


def test_tied_weights_are_saved_once_and_stay_tied(tmp_path: Path) -> None:
    config = ModelConfig(vocab_size=9, context_length=8, n_layers=1, d_model=8, n_heads=2, tied_embeddings=True)
    write_model_folder(tmp_path, random_decoder(config))
    assert "unembed.weight" not in read_tensors(tmp_path / "model.safetensors", torch.device("cpu"))
    loaded = load(tmp_path)
    assert loaded.unembed.weight is loaded.embed.weight


def test_files_that_are_broken(folder: Path, tiny_model: Decoder) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, settings = weights.read_bytes(), config.read_text()

    def refused(message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            load(folder)

    for content in (b"", whole[:7], whole[:200], whole[:-1], b"\xff" * 8 + whole[8:], b"PK\x03\x04" * 50):
        weights.write_bytes(content)
        refused(r"model\.safetensors is cut short or is no safetensors file")
    weights.unlink()
    refused(r"there is no .*model\.safetensors")

    tensors: dict[str, Any] = dict(own_weights(tiny_model))
    save_file({name: tensor for name, tensor in tensors.items() if name != "embed.weight"}, weights)
    refused(r"lacks embed\.weight")
    save_file(tensors | {"blocks.0.attn.c_attn": torch.zeros(2)}, weights)
    refused(r"has blocks\.0\.attn\.c_attn, unknown to the model")
    save_file(tensors | {"embed.weight": torch.zeros(2, 3)}, weights)
    refused(r"embed\.weight has shape \(2, 3\); the config makes it \(300, 32\)")
    weights.write_bytes(whole)

    for content in ("", "[]", "{}", '{"model": {}}', settings[:50]):
        config.write_text(content)
        refused(r"config\.json")
    values = json.loads(settings)
    config.write_text(json.dumps(values | {"format": 99}))
    refused("has format 99; this onward reads format 1")
    config.write_text(json.dumps(values | {"model": values["model"] | {"n_haeds": 4}}))
    refused("unknown key 'n_haeds' .did you mean 'n_heads'")


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no run and no model in"):
        load(tmp_path / "nowhere")
