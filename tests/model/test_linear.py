"""Weights of 8 bits: rounded once, multiplied by a kernel whose slow twin is the product with widened weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import onward
from onward.errors import ConfigError
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.folder import write_model_folder
from onward.model.hook import Hooks
from onward.model.linear import Int8Embedding, Int8Linear, Int8Weight, Linear, to_int8
from onward.tokenizer import Tokenizer
from tests.conftest import random_decoder

TOKENS = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))


def decoder(**changes: object) -> Decoder:
    settings: dict[str, object] = {"vocab_size": 50, "context_length": 16, "n_layers": 2, "d_model": 48, "n_heads": 4}
    return random_decoder(ModelConfig(**{**settings, **changes}))  # type: ignore[arg-type]


def rounded(**changes: object) -> Decoder:
    model = decoder(**changes)
    to_int8(model)
    return model


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_weights_by_hand() -> None:
    """The largest of each row is 127 steps; a row of zeros stays one."""
    layer = Int8Weight(torch.tensor([[2.54, -1.27, 0.013], [0.0, 0.0, 0.0], [-1e-30, 0.0, 1e-30]]))
    assert layer.panels[0, 0, :4].tolist() == [[127, -64, 1, 0], [0, 0, 0, 0], [-127, 0, 127, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(layer.weight[0], torch.tensor([2.54, -1.28, 0.02]))
    assert layer.weight[1].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(layer.weight[2], torch.tensor([-1e-30, 0.0, 1e-30]), atol=1e-35, rtol=0)


def test_where_each_number_of_a_panel_lies() -> None:
    """Number 6 of row 17 is in the second panel, its second four, its second row."""
    weight = torch.zeros(18, 9)
    weight[17, 6] = 1.0
    panels = Int8Weight(weight).panels
    assert panels.shape == (2, 3, 16, 4)
    assert panels.nonzero().tolist() == [[1, 1, 1, 2]]


def test_a_weight_is_off_by_half_a_step_at_most() -> None:
    weight = normal(40, 100)
    steps = weight.abs().amax(1, keepdim=True) / 127
    assert ((Int8Weight(weight).weight - weight).abs() <= 0.5001 * steps).all()


def check_against_the_twin(n_rows: int, n_in: int, n_out: int, bias: bool, seed: int) -> None:
    layer = Int8Linear(normal(n_out, n_in, seed=seed), normal(n_out) if bias else None)
    x = normal(n_rows, n_in, seed=seed + 1)
    exact = x.double() @ layer.weight.double().T + (0 if layer.bias is None else layer.bias.double())
    tolerance = 1e-6 * float(1 + (x.abs() @ layer.weight.abs().T).max()) if n_rows else 0
    assert layer(x).shape == (n_rows, n_out)
    torch.testing.assert_close(layer(x).double(), exact, atol=tolerance, rtol=0)
    torch.testing.assert_close(layer.widened(x).double(), exact, atol=tolerance, rtol=0)


@given(
    n_rows=st.integers(0, 100),
    n_in=st.integers(1, 70),
    n_out=st.integers(1, 200),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_kernel_is_the_product_with_widened_weights(
    n_rows: int, n_in: int, n_out: int, bias: bool, seed: int
) -> None:
    check_against_the_twin(n_rows, n_in, n_out, bias, seed)


@pytest.mark.parametrize("n_rows", [1, 2, 192, 193, 385])
@pytest.mark.parametrize("n_in", [255, 256, 257, 260, 515])
def test_at_the_edges_of_its_blocks(n_rows: int, n_in: int) -> None:
    for n_out in (63, 64, 65):
        check_against_the_twin(n_rows, n_in, n_out, bias=True, seed=n_rows)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_is_the_same_whatever_stands_beside_it(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for n_in in (771, 772):  # by fours, one row alone takes another way
            layer = Int8Linear(normal(1001, n_in), normal(1001))
            x = normal(203, n_in)
            together = layer(x)
            for row in range(203):
                assert torch.equal(layer(x[row : row + 1])[0], together[row])
            assert torch.equal(layer(x[190:201]), together[190:201])
    finally:
        torch.set_num_threads(before)


def test_any_layout_and_axes() -> None:
    layer = Int8Linear(normal(7, 10), None)
    x = normal(10, 4, 3).transpose(0, 2)
    assert not x.is_contiguous()
    torch.testing.assert_close(layer(x), layer.widened(x))
    torch.testing.assert_close(layer(x[0, 0]), layer.widened(x)[0, 0])


def test_gradients_reach_the_input() -> None:
    layer = Int8Linear(normal(7, 10), normal(7))
    x = normal(4, 10).requires_grad_()
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(4, 10))


def test_not_a_number_stays_one() -> None:
    x = normal(2, 10)
    x[0, 3] = torch.nan
    out = Int8Linear(normal(7, 10), None)(x)
    assert out[0].isnan().all()
    assert out[1].isfinite().all()


FORMS: dict[str, dict[str, object]] = {
    "modern": {},
    "gpt2": {
        "norm": "layer",
        "positions": "learned",
        "activation": "gelu",
        "qk_norm": False,
        "bias": True,
        "tied_embeddings": True,
        "embed_norm": False,
    },
    "sizes apart": {"d_head": 6, "d_value": 3, "d_mlp": 20, "n_kv_heads": 2},
}


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_those_of_the_rounded_weights(form: str) -> None:
    """The outside truth: a float model whose matrices are set to what rounding leaves of them."""
    model, twin = decoder(**FORMS[form]), rounded(**FORMS[form])
    for module in [*model.modules()]:
        if isinstance(module, Linear):
            module.weight.copy_(Int8Weight(module.weight).weight)
    if not model.config.tied_embeddings:
        model.embed.weight.copy_(Int8Weight(model.embed.weight).weight)
    expected = model(TOKENS)
    torch.testing.assert_close(twin(TOKENS), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(expected, decoder(**FORMS[form])(TOKENS), atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_cached_logits_are_the_uncached(form: str) -> None:
    model = rounded(**FORMS[form])
    expected, state = model(TOKENS), model.start(3)
    parts = [model(part, state) for part in TOKENS.split([5, 1, 1, 4, 1], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_an_embedding_is_its_matrix() -> None:
    layer = Int8Embedding(normal(50, 47))
    tokens = torch.tensor([[0, 15, 16], [47, 48, 49]])
    assert torch.equal(layer(tokens), layer.weight[tokens])


def test_a_tied_matrix_stays_one_and_memory_shrinks() -> None:
    model, twin = decoder(**FORMS["gpt2"]), rounded(**FORMS["gpt2"])
    assert isinstance(twin.embed, Int8Embedding)
    assert twin.embed.panels is twin.unembed.panels
    assert twin.n_parameters == model.n_parameters
    matrices = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 2) - 16 * 48
    scales = sum(module.scale.nbytes for module in twin.modules() if isinstance(module, Int8Weight)) - 4 * 50
    filling = 14 * 48  # 50 rows of the embedding in panels of 16
    assert twin.n_bytes == model.n_bytes - 3 * matrices + scales + filling


def test_hooks_work() -> None:
    model = rounded()
    logits, cache = model.run_with_cache(TOKENS)
    torch.testing.assert_close(logits, model(TOKENS), atol=1e-5, rtol=1e-4)
    assert set(cache) == set(model.hook_names)
    ablated = model(TOKENS, hooks=Hooks(edit={"blocks.*.mlp.out": torch.zeros_like}))
    assert not torch.allclose(ablated, logits)


def test_it_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rounded to int8, which is done on loading and never saved; load it with"):
        write_model_folder(tmp_path, rounded())
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "int8"])
def test_load_in_every_dtype(dtype: str, tmp_path: Path, tiny_model: Decoder) -> None:
    write_model_folder(tmp_path, tiny_model)
    loaded, tokens = onward.load(tmp_path, device="cpu", dtype=dtype), TOKENS[:, :8]
    assert loaded.start(1).keys.dtype == (torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    logits, expected = loaded(tokens).float(), tiny_model(tokens)
    tolerance = {"bfloat16": 0.05, "int8": 0.05}.get(dtype, 1e-6)
    torch.testing.assert_close(logits, expected, rtol=0, atol=tolerance * float(expected.abs().max()))
    state = loaded.start(3)
    cached = torch.cat([loaded(part, state) for part in tokens.split([5, 1, 2], dim=1)], dim=1).float()
    cache_tolerance = 0.02 if dtype == "bfloat16" else 1e-5
    torch.testing.assert_close(cached, logits, rtol=0, atol=cache_tolerance * float(expected.abs().max()))
    text = onward.generate(loaded, "Line", max_tokens=5, temperature=0)
    assert isinstance(text, str)
    if dtype in ("auto", "float32"):
        assert text == onward.generate(tiny_model, "Line", max_tokens=5, temperature=0)


def test_a_text_learned_by_heart_is_said_the_same(tiny_tokenizer: Tokenizer) -> None:
    """Where a model is sure of itself, rounding its weights changes no token."""
    model = Decoder(ModelConfig(vocab_size=50, context_length=16, n_layers=2, d_model=48, n_heads=4))
    from onward.model.init import initialise

    initialise(model, seed=1)
    text = TOKENS[:1]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(text)[0, :-1], text[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.requires_grad_(False)
    to_int8(model)
    assert torch.equal(model(text)[0, :-1].argmax(-1), text[0, 1:])


def test_unknown_dtypes_are_refused_with_the_list(tmp_path: Path) -> None:
    for name in ("fp16", "", "INT8", "float64"):
        with pytest.raises(ConfigError, match=f"no dtype '{name}'; there are auto, float32, bfloat16, int8"):
            onward.load(tmp_path, dtype=name)
