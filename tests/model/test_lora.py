from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import transformers

from onward.config import read_json, write_json
from onward.errors import CheckpointError, ConfigError
from onward.library import convert, load
from onward.model.config import ModelConfig, preset
from onward.model.decoder import Decoder
from onward.model.folder import write_model_folder
from onward.model.huggingface import write_huggingface_folder
from onward.model.init import initialise_adapters
from onward.model.linear import LoRA, LoRALinear, to_int8
from onward.model.lora import add_adapters, check_rank, merge_adapters
from onward.model.weights import own_weights
from onward.tokenizer import Tokenizer
from tests.conftest import random_decoder

TOKENS = torch.tensor([[5, 1, 4, 1, 5, 9, 2, 6], [3, 1, 4, 1, 5, 9, 2, 6]])
MATRICES = ["attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "mlp.up_proj", "mlp.down_proj"]
GATED = [*MATRICES, "mlp.gate_proj"]
FORMS = ["small", "gpt2-mini", "llama-mini", "vaswani-mini"]


def twin(model: Decoder) -> Decoder:
    other = Decoder(model.config)
    other.load_state_dict(model.state_dict())
    other.tokenizer = model.tokenizer
    return other


def adapted(model: Decoder, *, rank: int = 3, alpha: float = 12.0) -> Decoder:
    """The model with adapters none of whose numbers is 0."""
    model = twin(model)
    add_adapters(model, LoRA(rank=rank, alpha=alpha))
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in own_weights(model).values():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=random))
    return model


@pytest.mark.parametrize("form", FORMS)
def test_new_adapters_change_nothing_at_all(form: str) -> None:
    base = random_decoder(preset(form, vocab_size=40, n_layers=2))
    model = twin(base)
    add_adapters(model, LoRA(rank=4, alpha=16.0))
    initialise_adapters(model, seed=1)
    with torch.no_grad():  # with a gradient, attention is computed in another way
        assert torch.equal(model(TOKENS), base(TOKENS))


@pytest.mark.parametrize("form", FORMS)
def test_an_update_is_b_a_alpha_over_rank(form: str) -> None:
    """Against the base's own forward pass, with matrices made by hand."""
    base = random_decoder(preset(form, vocab_size=40, n_layers=2))
    model = adapted(base, rank=3, alpha=12.0)
    by_hand = twin(base)
    with torch.no_grad():
        for layer, block in enumerate(by_hand.blocks):
            for name in GATED if base.config.activation == "swiglu" else MATRICES:
                a = model.get_parameter(f"blocks.{layer}.{name}.lora_a")
                b = model.get_parameter(f"blocks.{layer}.{name}.lora_b")
                weight = block.get_parameter(f"{name}.weight")
                weight.copy_((weight.double() + b.double() @ a.double() * 12.0 / 3).float())
    expected = by_hand(TOKENS)
    assert (expected - base(TOKENS)).abs().max() > 0.1
    torch.testing.assert_close(model(TOKENS), expected, atol=1e-4, rtol=1e-4)
    before = model(TOKENS)
    merge_adapters(model)
    torch.testing.assert_close(model(TOKENS), before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(own_weights(model), own_weights(by_hand), atol=1e-6, rtol=1e-6)
    assert not any(isinstance(module, LoRALinear) for module in model.modules())


def test_only_adapters_get_gradients(tiny_model: Decoder) -> None:
    model = adapted(tiny_model)
    model(TOKENS).square().sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == set(own_weights(model))
    assert len(trained) == 2 * 2 * len(GATED)
    assert {name.rpartition(".")[2] for name in trained} == {"lora_a", "lora_b"}


def test_a_folder_of_adapters_and_its_base(tmp_path: Path, tiny_model: Decoder) -> None:
    model = adapted(tiny_model)
    checkpoint = tmp_path / "checkpoints" / "step-000001"
    checkpoint.mkdir(parents=True)
    write_model_folder(checkpoint, model)
    assert not (checkpoint / "model.safetensors").exists()
    with pytest.raises(CheckpointError, match=r"step-000001 holds adapters alone, and the model .* is not in .*base"):
        load(checkpoint)
    (tmp_path / "base").mkdir()
    write_model_folder(tmp_path / "base", tiny_model)
    loaded = load(checkpoint)
    assert loaded.lora is None
    assert loaded.tokenizer == tiny_model.tokenizer
    torch.testing.assert_close(loaded(TOKENS), model(TOKENS), atol=1e-5, rtol=1e-5)
    assert set(own_weights(loaded)) == set(own_weights(tiny_model))

    values = read_json(checkpoint / "config.json")
    for wrong in (
        {"rank": 0, "alpha": 1.0},
        {"rank": 3},
        {"rank": 3, "alpha": -1.0},
        "3",
        {"rank": True, "alpha": 1.0},
    ):
        write_json(checkpoint / "config.json", {**values, "lora": wrong})
        with pytest.raises(CheckpointError, match="config.json: lora|the rank of LoRA"):
            load(checkpoint)
    write_json(checkpoint / "config.json", {**values, "lora": {"rank": 2, "alpha": 12.0}})
    with pytest.raises(CheckpointError, match=r"adapters\.safetensors: .*lora_a has shape \(3, 32\); the config makes"):
        load(checkpoint)
    write_json(checkpoint / "config.json", values)
    other = random_decoder(dataclasses.replace(tiny_model.config, norm_epsilon=1e-3))
    write_model_folder(tmp_path / "base", other)
    with pytest.raises(CheckpointError, match="are not of the model in .*base: their configs differ"):
        load(checkpoint)


@pytest.mark.parametrize("form", ["gpt2-mini", "llama-mini", "small"])
def test_merged_and_exported_is_the_same_in_transformers(tmp_path: Path, form: str, tiny_tokenizer: Tokenizer) -> None:
    base = random_decoder(preset(form, vocab_size=tiny_tokenizer.vocab_size, n_layers=2), tiny_tokenizer)
    model = adapted(base)
    for folder, held in ((tmp_path / "base", base), (tmp_path / "checkpoints" / "step-000001", model)):
        folder.mkdir(parents=True)
        write_model_folder(folder, held)
    with pytest.raises(ConfigError, match="no adapters; merge them"):
        write_huggingface_folder(tmp_path, model)
    convert(tmp_path / "checkpoints" / "step-000001", tmp_path / "hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(TOKENS).logits, model(TOKENS), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rank", [0, -1, 33, 1 << 40])
def test_ranks_that_make_no_sense(tiny_model: Decoder, rank: int) -> None:
    with pytest.raises(ConfigError, match="the rank of LoRA must be "):
        add_adapters(tiny_model, LoRA(rank=rank, alpha=1.0))
    assert tiny_model.lora is None


def test_the_smallest_matrix_bounds_the_rank() -> None:
    config = ModelConfig(vocab_size=9, context_length=8, n_layers=1, d_model=32, n_heads=4, n_kv_heads=2)
    check_rank(16, config)
    with pytest.raises(ConfigError, match="between 1 and 16"):
        check_rank(17, config)


def test_what_cannot_have_adapters(tiny_model: Decoder) -> None:
    with pytest.raises(ConfigError, match="has adapters already"):
        add_adapters(adapted(tiny_model), LoRA(rank=1, alpha=1.0))
    to_int8(tiny_model)
    with pytest.raises(ConfigError, match="rounded to int8"):
        add_adapters(tiny_model, LoRA(rank=1, alpha=1.0))
