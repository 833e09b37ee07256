"""Hugging Face's folders, both ways, held against transformers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from onward.errors import CheckpointError, ConfigError, TokenizerError
from onward.library import convert, load
from onward.model.config import ModelConfig, RotaryScaling
from onward.model.decoder import Decoder
from onward.model.folder import write_model_folder
from onward.model.huggingface import config_from_huggingface, config_to_huggingface, write_huggingface_folder
from onward.tokenizer import Tokenizer
from tests.conftest import TINY_TEXT, random_decoder

SIZES: dict[str, Any] = {"vocab_size": 300, "context_length": 32, "n_layers": 2, "d_model": 24, "n_heads": 4}
GPT2: dict[str, Any] = {
    "activation": "gelu",
    "norm": "layer",
    "positions": "learned",
    "embed_norm": False,
    "qk_norm": False,
    "bias": True,
    "tied_embeddings": True,
}
LLAMA: dict[str, Any] = {"activation": "swiglu", "norm": "rms_gain", "embed_norm": False, "qk_norm": False}
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 97, 93, 23, 84, 62, 64, 33, 83, 27, 95, 0, 299]])


def logits_of(folder: Path) -> torch.Tensor:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(TOKENS).logits


def randomise(model: torch.nn.Module) -> None:
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))


THEIRS = {
    "gpt2": transformers.GPT2Config(vocab_size=300, n_positions=32, n_embd=24, n_layer=2, n_head=4),
    "gpt2 untied, odd sizes": transformers.GPT2Config(
        vocab_size=300, n_positions=40, n_embd=21, n_layer=3, n_head=3, n_inner=50, tie_word_embeddings=False
    ),
    "gpt2 relu, epsilon": transformers.GPT2Config(
        vocab_size=300,
        n_positions=32,
        n_embd=24,
        n_layer=1,
        n_head=2,
        activation_function="relu",
        layer_norm_epsilon=0.1,
    ),
    **{
        name: transformers.LlamaConfig(
            **{
                "vocab_size": 300,
                "max_position_embeddings": 64,
                "hidden_size": 24,
                "intermediate_size": 40,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                **changes,
            }
        )
        for name, changes in {
            "llama": {},
            "llama grouped, tied": {"num_key_value_heads": 2, "tie_word_embeddings": True},
            "llama one key head, head_dim": {"num_key_value_heads": 1, "head_dim": 10},
            "llama biases, epsilon": {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 0.1},
            "llama theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
            "llama linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 50.0, "factor": 3.0}},
            "llama llama3": {
                "head_dim": 32,
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 1000.0,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 16,
                },
            },
        }.items()
    },
    "qwen3": transformers.Qwen3Config(
        vocab_size=300,
        max_position_embeddings=64,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=10,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
    ),
    "nanochat": transformers.NanoChatConfig(
        vocab_size=300,
        max_position_embeddings=64,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        final_logit_softcapping=None,
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_what_transformers_writes(tmp_path: Path, name: str) -> None:
    model = transformers.AutoModelForCausalLM.from_config(THEIRS[name])
    randomise(model)
    model.save_pretrained(tmp_path / "theirs")
    ours = load(tmp_path / "theirs")
    assert ours.tokenizer is None
    with torch.no_grad():
        expected = model.eval()(TOKENS).logits
    assert (ours(TOKENS) - expected).abs().max() < 1e-4
    assert convert(tmp_path / "theirs", tmp_path / "ours") == "onward"
    assert torch.equal(load(tmp_path / "ours")(TOKENS), ours(TOKENS))
    assert convert(tmp_path / "ours", tmp_path / "again") == "huggingface"
    assert (logits_of(tmp_path / "again") - expected).abs().max() < 1e-4


OURS = {
    "the default": (SIZES, "qwen3"),
    "the default, grouped, tied": ({**SIZES, "n_kv_heads": 2, "tied_embeddings": True}, "qwen3"),
    "the default with gains": ({**SIZES, "norm": "rms_gain", "d_head": 10}, "qwen3"),
    "the default without qk_norm": ({**SIZES, "qk_norm": False}, "llama"),
    "the default, relu_squared": ({**SIZES, "activation": "relu_squared"}, "nanochat"),
    "the default, relu_squared, tied": ({**SIZES, "activation": "relu_squared", "tied_embeddings": True}, "nanochat"),
    "the default, relu": ({**SIZES, "activation": "relu", "norm_epsilon": 0.1, "d_mlp": 50}, "nanochat"),
    "gpt2": ({**SIZES, **GPT2}, "gpt2"),
    "gpt2 without biases": ({**SIZES, **GPT2, "bias": False, "tied_embeddings": False}, "gpt2"),
    "gpt2 with relu_squared": ({**SIZES, **GPT2, "activation": "relu_squared", "d_mlp": 31}, "gpt2"),
    "gpt2 with sinusoidal positions": ({**SIZES, **GPT2, "positions": "sinusoidal"}, "gpt2"),
    "llama": ({**SIZES, **LLAMA, "n_kv_heads": 2}, "llama"),
    "llama without gains": ({**SIZES, **LLAMA, "norm": "rms", "tied_embeddings": True}, "llama"),
    "llama with biases": ({**SIZES, **LLAMA, "bias": True, "d_head": 10}, "llama"),
    "llama stretched": (
        {**SIZES, **LLAMA, "rotary_theta": 99.0, "rotary_scaling": RotaryScaling(kind="linear", factor=1.5)},
        "llama",
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_what_we_write(tmp_path: Path, name: str) -> None:
    fields, architecture = OURS[name]
    model = random_decoder(ModelConfig(**fields))
    (tmp_path / "theirs").mkdir()
    assert write_huggingface_folder(tmp_path / "theirs", model) == architecture
    expected = model(TOKENS)
    assert (logits_of(tmp_path / "theirs") - expected).abs().max() < 1e-4
    again = load(tmp_path / "theirs")
    assert (again(TOKENS) - expected).abs().max() < 1e-5
    changed = {
        field.name
        for field in dataclasses.fields(ModelConfig)
        if getattr(again.config, field.name) != getattr(model.config, field.name)
    }
    assert changed <= {"bias", "norm", "positions", "embed_norm", "tied_embeddings"}


def test_tokenizer_and_ids(tmp_path: Path, tiny_model: Decoder) -> None:
    write_model_folder(tmp_path, tiny_model)
    convert(tmp_path, tmp_path / "theirs")
    assert tiny_model.tokenizer is not None
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    for text in (TINY_TEXT, "  two  blanks, naïve 日本 it's 1234\n\n\t x<|endoftext|>"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == tiny_model.tokenizer.encode(text, allowed_special="all")
        assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token == "<|endoftext|>"
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    end = tiny_model.tokenizer.end_token
    for config in (model.config, model.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (end, end, end)
    assert load(tmp_path / "theirs").tokenizer == tiny_model.tokenizer


def test_llama_3s_tokens_that_begin_and_end_a_text(tmp_path: Path, tiny_model: Decoder) -> None:
    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    tiny_model.tokenizer = Tokenizer.train_on([TINY_TEXT], vocab_size=tiny_model.vocab_size, special_tokens=marks)
    begin, *ends = (tiny_model.tokenizer.special_tokens[mark] for mark in marks)
    write_model_folder(tmp_path, tiny_model)
    convert(tmp_path, tmp_path / "theirs")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin_of_text|>", "<|eot_id|>")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    assert (model.generation_config.bos_token_id, model.generation_config.eos_token_id) == (begin, ends)


@pytest.mark.parametrize("split_pattern", ["gpt2", "llama3", "smollm2", "cl100k", "o200k", "byte"])
def test_every_tokenizer(tmp_path: Path, split_pattern: str) -> None:
    """Whatever the architecture: transformers must not put a tokenizer of its own in place of ours."""
    text = "It's 1234 o'clock:  naïve 日本\n\n HELLO'S <|endoftext|>"
    special = ["<|im_start|>", "<|im_end|>"]
    model = random_decoder(ModelConfig(**{**SIZES, **(GPT2 if split_pattern == "gpt2" else LLAMA)}))
    model.tokenizer = Tokenizer.train_on([text], vocab_size=280, special_tokens=special, split_pattern=split_pattern)
    write_huggingface_folder(tmp_path, model)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text, add_special_tokens=False).input_ids == model.tokenizer.encode(text)
    assert load(tmp_path).tokenizer == model.tokenizer


@pytest.fixture
def gpt2_folder(tmp_path: Path) -> Path:
    model = transformers.AutoModelForCausalLM.from_config(THEIRS["gpt2"])
    randomise(model)
    model.save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_prefixes_masks_and_number_types(gpt2_folder: Path) -> None:
    file = gpt2_folder / "model.safetensors"
    tensors, expected = load_file(file), logits_of(gpt2_folder)
    masks = {"h.0.attn.bias": torch.ones(1, 1, 32, 32), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(bare | masks, file)
    assert (load(gpt2_folder)(TOKENS) - expected).abs().max() < 1e-4
    tied = {"lm_head.weight": bare["wte.weight"].clone()}
    save_file(bare | tied, file)
    assert (load(gpt2_folder)(TOKENS) - expected).abs().max() < 1e-4
    for dtype, error in ((torch.float64, 1e-4), (torch.float16, 0.1), (torch.bfloat16, 1.0)):
        save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, file)
        loaded = load(gpt2_folder)
        assert loaded.embed.weight.dtype == torch.float32
        assert (loaded(TOKENS) - expected).abs().max() < error
    save_file(bare | {"lm_head.weight": bare["wte.weight"] + 1}, file)
    with pytest.raises(
        CheckpointError, match=r"lm_head\.weight is not transformer\.wte\.weight, though the config ties"
    ):
        load(gpt2_folder)


def test_shards(tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_config(THEIRS["llama"])
    randomise(model)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert (load(tmp_path)(TOKENS) - logits_of(tmp_path)).abs().max() < 1e-4

    index = tmp_path / "model.safetensors.index.json"
    whole = index.read_text()
    files = json.loads(whole)["weight_map"]
    name, file = next(iter(files.items()))

    def refused(content: Any, message: str) -> None:
        index.write_text(content if isinstance(content, str) else json.dumps({"weight_map": content}))
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path)

    for outside in ("../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "model.bin", ".safetensors", "x\0"):
        refused(files | {name: outside}, "names the file .*; expected a .safetensors file in the same folder")
    refused(files | {name: "other.safetensors"}, r"there is no .*other\.safetensors")
    refused(files | {"model.extra": file}, rf"model\.extra is not in {file}")
    refused(whole[:50], "is not a JSON file")
    refused({name: 3}, "has no weight_map")
    refused("{}", "has no weight_map")
    index.write_text(whole)
    (tmp_path / "copy.safetensors").write_bytes((tmp_path / file).read_bytes())
    refused(files | {"copied": "copy.safetensors"}, "which another file of .* has too")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba'; onward reads gpt2, llama, qwen3, nanochat"),
        ({"activation_function": "gelu"}, "activation_function is 'gelu'; of gpt2, onward has gelu_new"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}"),
        ({"n_layer": 0}, "model.n_layers must be between 1 and"),
        ({"n_layer": "two"}, "n_layers must be of type int; got 'two'"),
        ({"n_embd": 10**30}, "model.d_model must be between 1 and"),
        ({"n_head": 5}, "not a multiple of n_heads = 5"),
        ({"layer_norm_epsilon": 0}, "norm_epsilon must be above 0"),
        ({"activation_function": ["relu"]}, "activation_function is"),
    ],
)
def test_what_gpt2_is_refused(gpt2_folder: Path, changes: dict[str, Any], message: str) -> None:
    config = gpt2_folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(CheckpointError, match=message):
        load(gpt2_folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'; onward has default, linear"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type is 'yarn'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor must be of type float; got None"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0.5}}, "factor must be at least 1; got 0.5"),
        ({"rope_scaling": {"rope_type": "linear", "factor": float("nan")}}, "factor must be at least 1; got nan"),
        ({"rope_scaling": "linear"}, "expected an object"),
        ({"rope_theta": -1.0}, "rotary_theta must be above 0"),
        ({"rope_theta": "big"}, "rotary_theta must be of type float"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is not 1"),
        ({"attention_bias": True}, r"attention_bias and mlp_bias are \[True, False\]"),
        ({"mlp_bias": True}, r"attention_bias and mlp_bias are \[False, True\]"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; of llama, onward has silu"),
        ({"num_key_value_heads": 3}, "n_heads = 4 is not a multiple of n_kv_heads = 3"),
        ({"head_dim": 7}, "must be even"),
    ],
)
def test_what_llama_is_refused(changes: dict[str, Any], message: str) -> None:
    values = {"model_type": "llama", "hidden_size": 24, "num_attention_heads": 4}
    config_from_huggingface(values, Path("config.json"))
    with pytest.raises(CheckpointError, match=message):
        config_from_huggingface(values | changes, Path("config.json"))


def test_older_ways_to_say_rotary_scaling() -> None:
    values = {"model_type": "llama", "rope_theta": 500000, "rope_scaling": {"type": "linear", "factor": 2}}
    config = config_from_huggingface(values, Path("config.json"))
    assert config.rotary_theta == 500000.0
    assert config.rotary_scaling == RotaryScaling(kind="linear", factor=2.0)


def test_models_that_no_architecture_is(tmp_path: Path, tiny_model: Decoder) -> None:
    config = ModelConfig(**SIZES, d_value=12, window=8, norm_order="post")
    with pytest.raises(ConfigError, match="qwen3 has no d_value = 12, norm_order = post, window = 8"):
        config_to_huggingface(config)
    with pytest.raises(ConfigError, match="d_model is not a multiple of n_heads"):
        config_to_huggingface(ModelConfig(**{**SIZES, "n_heads": 5, "d_head": 4}))
    write_model_folder(tmp_path, tiny_model)
    with pytest.raises(CheckpointError, match="exists already"):
        convert(tmp_path, tmp_path)
    write_model_folder(tmp_path, random_decoder(config))
    with pytest.raises(ConfigError):
        convert(tmp_path, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_a_folder_that_is_broken(gpt2_folder: Path, tiny_tokenizer: Tokenizer) -> None:
    file = gpt2_folder / "model.safetensors"
    whole, tensors = file.read_bytes(), load_file(file)
    weight = "transformer.h.1.attn.c_attn.weight"

    def refused(message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            load(gpt2_folder)

    for content in (b"", whole[:7], whole[:500], whole[:-1], (1 << 62).to_bytes(8, "little") + whole[8:]):
        file.write_bytes(content)
        refused(r"model\.safetensors is cut short or is no safetensors file")
    save_file(tensors | {weight: torch.zeros(24, 24)}, file)
    refused(r"c_attn\.weight has shape \(24, 24\); the config makes it \(24, 72\)")
    save_file({name: tensor for name, tensor in tensors.items() if name != weight}, file)
    refused(r"lacks transformer\.h\.1\.attn\.c_attn\.weight")
    save_file(tensors | {"transformer.h.2.ln_1.weight": torch.ones(24)}, file)
    refused(r"has transformer\.h\.2\.ln_1\.weight, unknown to the model")
    for value in (torch.nan, torch.inf):
        broken = tensors[weight].clone()
        broken[3, 5] = value
        save_file(tensors | {weight: broken}, file)
        refused(r"c_attn\.weight holds a number that is not finite")
    save_file(tensors | {weight: tensors[weight].to(torch.int8)}, file)
    refused(r"c_attn\.weight is of type I8; onward reads weights of F64, F32, F16, BF16")
    file.unlink()
    refused(r"there is no .*model\.safetensors")
    file.write_bytes(whole)
    tokenizer = Tokenizer.train_on([TINY_TEXT], vocab_size=310)
    tokenizer.save(gpt2_folder)
    refused("the tokenizer has 310 tokens and the model 300")
    assert load(gpt2_folder, tokenizer=False).tokenizer is None
    tiny_tokenizer.save(gpt2_folder)
    assert load(gpt2_folder).tokenizer == tiny_tokenizer


def test_sentence_piece_is_refused_by_name(gpt2_folder: Path) -> None:
    (gpt2_folder / "tokenizer.model").write_bytes(b"\x0a\x0e")
    with pytest.raises(TokenizerError, match=r"tokenizer\.model is SentencePiece's.* with tokenizer=False"):
        load(gpt2_folder)
    (gpt2_folder / "tokenizer.json").write_text('{"model": {"type": "Unigram"}}')
    with pytest.raises(TokenizerError, match=r"of type 'Unigram'.* with tokenizer=False"):
        load(gpt2_folder)
    assert load(gpt2_folder, tokenizer=False).tokenizer is None


def test_a_config_of_a_gigabyte_is_not_read(gpt2_folder: Path) -> None:
    with (gpt2_folder / "config.json").open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(CheckpointError, match=r"config\.json has 1,073,741,824 bytes; no config has more"):
        load(gpt2_folder)


def test_an_absurd_config_takes_no_memory(gpt2_folder: Path) -> None:
    config = gpt2_folder / "config.json"
    values = json.loads(config.read_text())
    for change in ({"vocab_size": 1 << 24, "n_embd": 1 << 24}, {"n_layer": 1 << 24}, {"n_positions": 1 << 24}):
        config.write_text(json.dumps(values | change))
        with pytest.raises(CheckpointError, match=r"has shape|must be between|asks for 16777216 blocks"):
            load(gpt2_folder)
