"""A trained GPT of another implementation (minGPT's gpt-nano, taught to sort), held against at every activation."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onward.model.attention import causal_mask
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder

LAYERS = range(3)

# Its names → ours; what is not of one name is worked out in `load`.
WEIGHTS = {
    "transformer.wte.weight": "embed.weight",
    "transformer.wpe.weight": "position_embed.weight",
    "transformer.ln_f.weight": "final_norm.weight",
    "transformer.ln_f.bias": "final_norm.bias",
    "lm_head.weight": "unembed.weight",
} | {
    f"transformer.h.{layer}.{theirs}.{kind}": f"blocks.{layer}.{ours}.{kind}"
    for layer in LAYERS
    for theirs, ours in {
        "ln_1": "attn_norm",
        "attn.c_proj": "attn.o_proj",
        "ln_2": "mlp_norm",
        "mlp.c_fc": "mlp.up_proj",
        "mlp.c_proj": "mlp.down_proj",
    }.items()
    for kind in ("weight", "bias")
}

# Its activations → our hooks. It records the inside of the first block only.
ACTIVATIONS = {
    "tok_emb": "embed",
    "pos_emb": "position_embed",
    "x": "blocks.0.resid_pre",
    "q": "blocks.0.attn.q",
    "k": "blocks.0.attn.k",
    "v": "blocks.0.attn.v",
    "att": "blocks.0.attn.scores",
    "attSm": "blocks.0.attn.pattern",
    "yProj": "blocks.0.attn.out",
    "attnResid": "blocks.0.resid_mid",
    "fc": "blocks.0.mlp.pre",
    "gelu": "blocks.0.mlp.post",
    "mlp": "blocks.0.mlp.out",
    "mlpResid": "blocks.0.resid_post",
    "block0": "blocks.0.resid_post",
    "block1": "blocks.1.resid_post",
    "block2": "blocks.2.resid_post",
    "ln_f": "final_norm",
    "lm_head": "logits",
}


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    values = json.loads(gzip.decompress(path.read_bytes()))
    tensors = {
        name: torch.from_numpy(
            np.frombuffer(base64.b64decode(value["data"]), dtype="<f4").reshape(value["shape"]).copy()
        )
        for name, value in values.items()
        if name != "config"
    }
    return values["config"], tensors


@pytest.fixture(scope="module")
def sorter(shared_data: Path) -> Decoder:
    """The model, its every tensor put in its place."""
    theirs, tensors = read(shared_data / "weights" / "gpt_nano_sort" / "gpt-nano-sort-model.json.gz")
    config = ModelConfig(
        vocab_size=theirs["vocab_size"],
        context_length=theirs["block_size"],
        n_layers=theirs["n_layer"],
        d_model=theirs["n_embd"],
        n_heads=theirs["n_head"],
        activation="gelu",
        norm="layer",
        positions="learned",
        embed_norm=False,
        qk_norm=False,
        bias=True,
    )
    weights = {ours: tensors.pop(name) for name, ours in WEIGHTS.items()}
    for layer in LAYERS:
        assert torch.equal(tensors.pop(f"transformer.h.{layer}.attn.bias")[0, 0].bool(), causal_mask(11, 11))
        for kind in ("weight", "bias"):
            parts = tensors.pop(f"transformer.h.{layer}.attn.c_attn.{kind}").chunk(3)
            for projection, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
                weights[f"blocks.{layer}.attn.{projection}.{kind}"] = part
    assert tensors == {}
    model = Decoder(config)
    model.load_state_dict(weights)
    return model.requires_grad_(False)


def test_every_recorded_tensor(sorter: Decoder, shared_data: Path) -> None:
    _, recorded = read(shared_data / "weights" / "gpt_nano_sort" / "gpt-nano-sort-t0-partials.json.gz")
    tokens = recorded.pop("idx").long()
    assert tokens.shape == (3, 11)
    logits, cache = sorter.run_with_cache(tokens)
    block = sorter.blocks[0]
    ours = {name: cache[hook] for name, hook in ACTIVATIONS.items()}
    # What is at no hook of ours is one step from one.
    ours["ln1"] = block.attn_norm(cache["blocks.0.resid_pre"])
    ours["ln2"] = block.mlp_norm(cache["blocks.0.resid_mid"])
    ours["qkv"] = torch.cat([cache[f"blocks.0.attn.{name}"].transpose(1, 2).flatten(2) for name in "qkv"], dim=-1)
    ours["y"] = cache["blocks.0.attn.z"].transpose(1, 2).flatten(2)
    ours["probs"] = logits.softmax(dim=-1)
    assert ours.keys() == recorded.keys()
    for name, theirs in recorded.items():
        torch.testing.assert_close(ours[name], theirs, atol=1e-4, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_it_sorts(sorter: Decoder) -> None:
    """Six digits are followed by the same six in order: all 729 of them."""
    digits = torch.tensor(list(itertools.product(range(3), repeat=6)))
    tokens = digits
    for _ in range(6):
        tokens = torch.cat([tokens, sorter(tokens, last_only=True).argmax(dim=-1)], dim=1)
    right = (tokens[:, 6:] == digits.sort(dim=1).values).all(dim=1)
    assert int(right.sum()) == 729, digits[~right].tolist()
