"""The model that a run goes on from: read once, given the special tokens that it lacks, and kept in the run."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from onward.errors import CheckpointError, ConfigError
from onward.model.decoder import Decoder
from onward.model.folder import load_weights, read_model_config, write_model_folder
from onward.model.init import initialise, initialise_adapters
from onward.model.language_model import tokenizer_of
from onward.model.linear import LoRA
from onward.model.lora import add_adapters
from onward.model.read import read_decoder
from onward.model.weights import own_weights
from onward.run import Run, model_folder
from onward.training.checkpoint import write_manifest
from onward.training.config import RunConfig

# The weights that have a row, or a number, for each token.
_BY_TOKEN = ("embed.weight", "unembed.weight", "unembed.bias")
# A vocabulary that is a multiple of it stays one: see training/calibrate.py.
_WHOLE_TILE = 32


def read_base(path: Path) -> Decoder:
    """The model to go on from: that of a run (its newest checkpoint), or whatever else holds a decoder.

    Raises:
        CheckpointError: there is no model, or it is broken, or no decoder.
        TokenizerError: its tokenizer is one that onward does not have.
        ConfigError: it has no tokenizer.
    """
    model = read_decoder(model_folder(path), {"decoder": Decoder}, "cpu")
    if model.tokenizer is None:
        raise ConfigError(f"the model in {path} has no tokenizer, which says what its tokens are; put one beside it")
    return model


def fingerprint(model: Decoder) -> str:
    """SHA-256 of the model's weights with their names and shapes.

    Two models have the same one if they have the same weights, in whatever form they were saved.
    """
    digest = hashlib.sha256()
    for name, weight in own_weights(model).items():
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.float().contiguous().numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def with_special_tokens(model: Decoder, names: Sequence[str], seed: int) -> Decoder:
    """The model with those of the special tokens that its tokenizer lacks; it says what it said of all others.

    The rows of the new tokens are drawn from the normal distribution that the rows of the others have, column by
    column, so that they are as likely as a token is on average, and differ from each other. Rows that no token uses are
    used first.

    Source: Hewitt, Initializing New Word Embeddings for Pretrained Language Models, 2021.
    """
    tokenizer = tokenizer_of(model)
    if not (lacking := [name for name in names if name not in tokenizer.special_tokens]):
        return model
    n_known, extended = tokenizer.vocab_size, tokenizer.with_special_tokens(lacking)
    vocab_size = max(model.vocab_size, extended.vocab_size)
    if model.vocab_size % _WHOLE_TILE == 0:
        vocab_size = -(-vocab_size // _WHOLE_TILE) * _WHOLE_TILE
    larger = Decoder(dataclasses.replace(model.config, vocab_size=vocab_size)).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    weights = own_weights(larger)
    for name, weight in own_weights(model).items():
        weights[name][: len(weight)] = weight
        if name in _BY_TOKEN:
            known, new = weight[:n_known], weights[name][n_known:]
            new.copy_(known.mean(0) + known.std(0) * torch.randn(new.shape, generator=generator))
    larger.tokenizer = extended
    return larger


def write_base(run: Run, model: Decoder) -> None:
    """Keep the model in the run's folder, with the checksums of its files."""
    run.base.mkdir()
    write_model_folder(run.base, model)
    write_manifest(run.base)


def first_model(run: Run, config: RunConfig) -> Decoder:
    """The model as it is before the first step, on the CPU.

    Raises:
        CheckpointError: what is kept of the model to go on from is broken, or another than run.toml describes.
    """
    model = Decoder(config.model)
    if config.base is None:
        initialise(model, config.training.seed)
        return model
    if read_model_config(run.base)[1] != config.model:
        raise CheckpointError(f"{run.base} holds another model than run.toml describes; mend run.toml, or --overwrite")
    load_weights(model, run.base)
    if config.training.lora_rank:
        add_adapters(model, LoRA(rank=config.training.lora_rank, alpha=config.training.lora_alpha))
        initialise_adapters(model, config.training.seed)
    return model
