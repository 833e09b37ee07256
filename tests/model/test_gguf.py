"""GGUF files, written here as llama.cpp writes them, held against transformers; and broken ones."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st

from onward.errors import CheckpointError, OnwardError, TokenizerError
from onward.library import convert, load
from onward.model.config import RotaryScaling
from onward.model.gguf import QUANTISATIONS
from onward.tokenizer import Tokenizer
from tests.conftest import TINY_TEXT

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 97, 93, 23, 84]])
LLAMA_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GPT2_NAMES = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def their_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    parts = module.split(".")
    if "layers" in parts or "h" in parts:
        return f"blk.{parts[2]}.{(LLAMA_NAMES | GPT2_NAMES)['.'.join(parts[3:])]}.{kind}"
    return f"{(LLAMA_NAMES | GPT2_NAMES)[module]}.{kind}"


def permuted(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """As in llama.cpp's convert_hf_to_gguf.py."""
    halves = weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def quantised(weight: np.ndarray, kind: Type) -> np.ndarray:
    """Blocks of this kind near the weights; of kinds that the package cannot make, blocks of random bits."""
    try:
        return gguf.quants.quantize(weight, kind)
    except NotImplementedError:
        block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        shape = (*weight.shape[:-1], weight.shape[-1] // block, n_bytes)
        blocks = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        scale = np.frombuffer(np.float16(0.002).tobytes(), dtype=np.uint8)
        scales = {Type.Q4_K: (0, 2), Type.Q6_K: (208,)}[kind]  # where the 16-bit scales of a block are
        for at in scales:
            blocks[..., at : at + 2] = scale
        return blocks.reshape(*weight.shape[:-1], -1)


def write(
    path: Path, model: Any, kind: Type = Type.F32, changes: Callable[[gguf.GGUFWriter], None] = lambda writer: None
) -> None:
    """Write the model; matrices as `kind`, and into the model what they have become."""
    config, random = model.config, torch.Generator().manual_seed(1)
    writer = gguf.GGUFWriter(path, config.model_type)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if config.model_type == "llama":
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_vocab_size(config.vocab_size)
    else:
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    changes(writer)
    tied = config.tie_word_embeddings
    for name, parameter in model.named_parameters():
        if tied and name.startswith("lm_head"):
            continue
        weight = (0.2 * torch.randn(parameter.shape, generator=random)).numpy()
        transposed = config.model_type == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        weight = np.ascontiguousarray(weight.T) if transposed else weight
        packed = quantised(weight, kind) if weight.ndim == 2 else weight
        restored = gguf.quants.dequantize(packed, kind) if weight.ndim == 2 else weight
        with torch.no_grad():
            parameter.copy_(torch.tensor(restored.T if transposed else restored))
        if config.model_type == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            packed = permuted(packed, heads)
        writer.add_tensor(their_name(name), packed, raw_dtype=kind if weight.ndim == 2 else Type.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.eval()


def llama(**changes: Any) -> Any:
    sizes = {"vocab_size": 300, "max_position_embeddings": 32, "hidden_size": 24, "intermediate_size": 40}
    counts = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(**{**sizes, **counts, **changes})
    return transformers.AutoModelForCausalLM.from_config(config)


def gpt2(**changes: Any) -> Any:
    sizes = {"vocab_size": 300, "n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 4}
    return transformers.AutoModelForCausalLM.from_config(transformers.GPT2Config(**{**sizes, **changes}))


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


MODELS = {
    "llama": lambda: llama(),
    "llama head_dim, tied, theta": lambda: llama(
        head_dim=10, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 77.0}
    ),
    "gpt2": lambda: gpt2(),
    "gpt2 untied, epsilon": lambda: gpt2(tie_word_embeddings=False, layer_norm_epsilon=0.1),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture(tmp_path: Path, name: str) -> None:
    model = MODELS[name]()
    write(tmp_path / "model.gguf", model)
    ours = load(tmp_path / "model.gguf")
    assert (ours(TOKENS) - logits_of(model)).abs().max() < 1e-4
    assert convert(tmp_path / "model.gguf", tmp_path / "ours") == "onward"
    assert torch.equal(load(tmp_path / "ours")(TOKENS), ours(TOKENS))
    assert convert(tmp_path / "model.gguf", tmp_path / "theirs", to="huggingface") == "huggingface"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32)
    assert (logits_of(theirs) - logits_of(model)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", QUANTISATIONS)
def test_every_quantisation(tmp_path: Path, kind: str) -> None:
    model = llama(hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    write(tmp_path / "model.gguf", model, Type[kind])
    error = (load(tmp_path / "model.gguf")(TOKENS) - logits_of(model)).abs().max()
    assert error < 1e-4 * logits_of(model).abs().max()


def test_rotary_scaling(tmp_path: Path) -> None:
    model = llama(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})

    def scaling(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    write(tmp_path / "model.gguf", model, changes=scaling)
    ours = load(tmp_path / "model.gguf")
    assert ours.config.rotary_scaling == RotaryScaling(kind="linear", factor=4.0)
    assert (ours(TOKENS) - logits_of(model)).abs().max() < 1e-4


# ---- the tokenizer ----


def add_tokenizer(tokenizer: Tokenizer, pre: str, folder: Path) -> Callable[[gguf.GGUFWriter], None]:
    """What llama.cpp's converter writes of a tokenizer.json."""
    tokenizer.save(folder / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    names = theirs.convert_ids_to_tokens(list(range(tokenizer.vocab_size)))
    control = set(tokenizer.special_tokens.values())

    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list([name or f"[PAD{id_}]" for id_, name in enumerate(names)])
        writer.add_token_types([3 if id_ in control else 1 if name else 5 for id_, name in enumerate(names)])
        vocabulary = tokenizer._vocabulary
        writer.add_token_merges([f"{names[left]} {names[right]}" for left, right, _ in vocabulary.merges])
        writer.add_chat_template("{{ never run }}")

    return add


@pytest.mark.parametrize(("pre", "pattern"), [("gpt-2", "gpt2"), ("smollm", "smollm2")])
def test_tokenizer(tmp_path: Path, pre: str, pattern: str) -> None:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer.train_on([TINY_TEXT], vocab_size=290, special_tokens=special, split_pattern=pattern)
    write(tmp_path / "model.gguf", llama(), changes=add_tokenizer(tokenizer, pre, tmp_path))
    assert load(tmp_path / "model.gguf").tokenizer == tokenizer
    assert load(tmp_path / "model.gguf", tokenizer=False).tokenizer is None


def test_tokenizer_of_llama_3_keeps_words_whole(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train_on([TINY_TEXT], vocab_size=300, split_pattern="llama3")
    write(tmp_path / "model.gguf", llama(), changes=add_tokenizer(tokenizer, "llama-bpe", tmp_path))
    loaded = load(tmp_path / "model.gguf").tokenizer
    assert loaded is not None
    assert loaded._vocabulary.whole_words
    assert loaded.encode(TINY_TEXT) == tokenizer.encode(TINY_TEXT)


def without(key: str, add: Callable[[gguf.GGUFWriter], None]) -> Callable[[gguf.GGUFWriter], None]:
    def change(writer: gguf.GGUFWriter) -> None:
        add(writer)
        del writer.kv_data[0][f"tokenizer.ggml.{key}"]

    return change


def test_tokenizers_that_are_refused(tmp_path: Path, tiny_tokenizer: Tokenizer) -> None:
    path = tmp_path / "model.gguf"
    whole = add_tokenizer(tiny_tokenizer, "gpt-2", tmp_path)

    def refused(change: Callable[[gguf.GGUFWriter], None], message: str, vocab_size: int = 300) -> None:
        write(path, llama(vocab_size=vocab_size), changes=change)
        with pytest.raises(OnwardError, match=message):
            load(path)
        load(path, tokenizer=False)

    refused(lambda writer: writer.add_tokenizer_model("llama"), r"of the kind SentencePiece \(llama\).*tokenizer=False")
    refused(add_tokenizer(tiny_tokenizer, "tekken", tmp_path), "tokenizer.ggml.pre is 'tekken'; onward has gpt-2")
    refused(without("pre", whole), "tokenizer.ggml.pre is None")
    refused(without("merges", whole), "tokenizer.ggml.merges is no list of texts")
    refused(without("tokens", whole), "tokenizer.ggml.tokens is no list of texts")

    def user_defined(writer: gguf.GGUFWriter) -> None:
        without("token_type", whole)(writer)
        writer.add_token_types([4] * 300)

    refused(user_defined, "is of type 4; onward has normal, control and unused ones")

    def too_few_types(writer: gguf.GGUFWriter) -> None:
        without("token_type", whole)(writer)
        writer.add_token_types([1])

    refused(too_few_types, "does not say one type for each token")
    refused(whole, "the tokenizer has 300 tokens and the model 290", vocab_size=290)


# ---- bad input ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda writer: writer.add_uint32("llama.expert_count", 8),
            "llama.expert_count is 8, which onward",
        ),
        (
            lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN),
            "one of linear, llama3; got 'yarn'",
        ),
        (lambda writer: writer.kv_data[0].pop("llama.block_count"), "the key 'n_layers' is missing"),
        (
            lambda writer: writer.kv_data[0].pop("general.architecture"),
            "general.architecture is None; onward",
        ),
        (
            lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(3, np.float32)),
            "has rope_freqs.weight",
        ),
        (lambda writer: writer.add_tensor("odd", np.ones(3, np.float64)), "odd is of type F64; onward reads F32, F16"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: Callable[[gguf.GGUFWriter], None], message: str) -> None:
    write(tmp_path / "model.gguf", llama(), changes=change)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "model.gguf")


def header(*parts: int | bytes, counts: tuple[int, int] = (1, 0), version: int = 3) -> bytes:
    """A GGUF file by hand: integers of 32 bits, bytes as they are."""
    begin = b"GGUF" + version.to_bytes(4, "little") + counts[0].to_bytes(8, "little") + counts[1].to_bytes(8, "little")
    return begin + b"".join(part.to_bytes(4, "little") if isinstance(part, int) else part for part in parts)


def long(value: int) -> bytes:
    return value.to_bytes(8, "little")


NAME = long(1) + b"x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"GGUF", "is cut short or is no GGUF file"),
        (b"PK\x03\x04" * 30, "it begins with b'PK"),
        (header(version=1), "version 1; onward reads 2 and 3"),
        (header(version=3 << 24), "version 50331648"),
        (header(counts=(1 << 60, 0)), "1,152,921,504,606,846,976 tensors, more than"),
        (header(counts=(0, 1 << 60)), "1,152,921,504,606,846,976 keys, more than"),
        (header(long(1 << 60), counts=(0, 1)), "bytes of text, more than"),
        (header(NAME, 9, 4, long(1 << 60), counts=(0, 1)), "items in an array, more than"),
        (header(NAME, 9, 8, long(1 << 20), counts=(0, 1)), "is cut short"),
        (header(NAME, 9, 4, long(1 << 20), counts=(0, 1)), "is cut short"),
        (header(NAME, 9, 9, long(1), counts=(0, 1)), "a value of the unknown type 9"),
        (header(NAME, 99, counts=(0, 1)), "a value of the unknown type 99"),
        (header(NAME, 4, 1, NAME, 4, 2, counts=(0, 2)), "the key 'x' is there twice"),
        (header(long(1) + b"\xff", counts=(0, 1)), "is cut short or is no GGUF file"),
        (header(long(17) + b"general.alignment", 4, 0, counts=(0, 1)), "general.alignment is 0"),
        (header(NAME, 1 << 20), "1,048,576 axes of a tensor, more than 4"),
        (header(NAME, 2, long(1 << 62), long(1 << 62), 0, long(0)), "x ends at byte"),
        (header(NAME, 1, long(8), 0, long(1 << 63)), "x ends at byte"),
        (header(NAME, 1, long(8), 0, long(0)), "x ends at byte"),
        (header(NAME, 1, long(33), 2, long(0)), "whose rows are not made of blocks of 32"),
        (header(NAME, 1, long(0), 0, long(0)), "has shape"),
        (header(NAME, 1, long(8), 999, long(0)), "x is of the unknown type 999"),
        (header(NAME, 1, long(256), 10, long(0)), "x is of type Q2_K; onward reads F32"),
    ],
)
def test_headers_that_cannot_be(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*nowhere\.gguf: No such file"):
        load(tmp_path / "nowhere.gguf")
    write(tmp_path / "model.gguf", llama())
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match=r"need.* the extra \[gguf\]; get it with: pip install 'onward\[gguf\]'"):
        load(tmp_path / "model.gguf")


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    tokenizer = Tokenizer.train_on([TINY_TEXT], vocab_size=270)
    write(path, llama(vocab_size=270, num_hidden_layers=1), changes=add_tokenizer(tokenizer, "gpt-2", path.parent))
    return path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_broken_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, whole_file: bytes, data: st.DataObject
) -> None:
    """Never another error than ours, whatever byte of the header is another, or wherever the file is cut."""
    content = bytearray(whole_file)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 2500) | st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    cut = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    path = tmp_path_factory.mktemp("broken") / "model.gguf"
    path.write_bytes(content[:cut])
    with contextlib.suppress(CheckpointError, TokenizerError):
        load(path)
