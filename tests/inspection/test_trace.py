from __future__ import annotations

from pathlib import Path

import pytest
import torch

from onward.errors import DataError, NonFiniteError, TokenizerError
from onward.inspection.trace import MOST_SHOWN, draw, report, trace
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.tokenizer import Tokenizer
from tests.conftest import random_decoder
from tests.model.test_decoder import FORMS

TEXT = "Line 7 is naïve, $5 and 日"
MORE_FORMS = {
    **FORMS,
    "llama": {"norm": "rms_gain", "activation": "swiglu", "embed_norm": False, "n_kv_heads": 2, "window": 3},
    "full": {"attention": "full"},
}


def make_model(tokenizer: Tokenizer, **changes: object) -> Decoder:
    settings = {"context_length": 128, "n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 300, **changes}
    return random_decoder(ModelConfig(**settings), tokenizer)


@pytest.mark.parametrize("form", MORE_FORMS)
def test_the_way_of_a_text_through_every_form(form: str, tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tiny_tokenizer, **MORE_FORMS[form])
    tokens = model.to_tokens(TEXT)
    logits, cache = model.run_with_cache(tokens)
    way = trace(model, TEXT)

    assert way.ids == tokens[0].tolist()
    assert way.pieces == model.to_str_tokens(TEXT)
    assert way.shapes == {name: tuple(activation.shape) for name, activation in cache.items()}
    torch.testing.assert_close(way.patterns, cache["blocks.*.attn.pattern"][:, 0])
    torch.testing.assert_close(way.scores, cache["blocks.*.attn.scores"][:, 0])
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:])
    assert way.loss == pytest.approx(float(loss))

    probabilities = logits[0].softmax(dim=-1)
    assert [prediction.position for prediction in way.predictions] == list(range(len(way.ids)))
    for prediction in way.predictions[:-1]:
        at, right = probabilities[prediction.position], way.ids[prediction.position + 1]
        assert prediction.right is not None
        assert prediction.right.probability == pytest.approx(float(at[right]))
        assert prediction.rank == 1 + int((at > at[right]).sum())
        likeliest = at.topk(3)
        assert [chance for _, chance in prediction.likeliest] == pytest.approx(likeliest.values.tolist())
        assert [piece for piece, _ in prediction.likeliest] == tiny_tokenizer.pieces(likeliest.indices.tolist())
    assert way.predictions[-1].right is None
    assert len(way.lens) == len(way.last_lens) == 3
    for lens, prediction in zip(way.lens[-1], way.predictions, strict=True):
        assert lens == (prediction.likeliest[0].piece, pytest.approx(prediction.likeliest[0].probability))
    assert way.last_lens[-1][0] == (way.lens[-1][-1].piece, pytest.approx(way.lens[-1][-1].probability))

    printed = report(way)
    assert all(f"  {name} " in printed for name in ("embed", "blocks.{0-1}.attn.pattern", "logits"))
    assert (" position_embed " in printed) == (model.position_embed is not None)
    assert "\\xe6\\x97'" in printed
    assert max(map(len, printed.splitlines())) < 130
    paths = draw(way, model, tmp_path / "a" / "b")
    assert [path.name for path in paths] == ["mask.png", "positions.png", "attention.png", "lens.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n") for path in paths)


def test_a_long_text_is_bounded_and_says_so(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tiny_tokenizer)
    text = "Q" * 300
    way = trace(model, text)
    assert len(way.ids) == 128
    assert way.n_left_out == 301 - 128
    assert [prediction.position for prediction in way.predictions] == [*range(MOST_SHOWN), 127]
    assert way.patterns.shape == (2, 4, MOST_SHOWN, MOST_SHOWN)
    printed = report(way)
    assert "128 tokens; 173 more of the text are left out" in printed
    assert printed.count(f"...  {128 - MOST_SHOWN - 1} more") == 2
    draw(way, model, tmp_path)
    logits, cache = model.run_with_cache(model.to_tokens(text)[:, :128])
    assert way.predictions[-1].likeliest[0].probability == pytest.approx(float(logits[0, -1].softmax(-1).max()))
    torch.testing.assert_close(way.patterns, cache["blocks.*.attn.pattern"][:, 0, :, :MOST_SHOWN, :MOST_SHOWN])


def test_a_single_token(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tiny_tokenizer)
    way = trace(model, "")
    assert way.pieces == ["<|endoftext|>"]
    assert way.loss is None
    assert report(way).startswith("1 token\n")
    draw(way, model, tmp_path)


def test_special_tokens_and_ids_beyond_the_tokenizer(tiny_tokenizer: Tokenizer) -> None:
    model = make_model(tiny_tokenizer, vocab_size=5000)
    way = trace(model, "a<|endoftext|>b")
    assert way.pieces == ["<|endoftext|>", "a", "<|endoftext|>", "b"]
    assert any(piece == f"<{number}>" for piece, _ in way.lens[-1] for number in range(300, 5000))


def test_where_numbers_break(tiny_tokenizer: Tokenizer) -> None:
    model = make_model(tiny_tokenizer)
    model.blocks[1].mlp.down_proj.weight[3, 3] = torch.nan
    with pytest.raises(NonFiniteError, match=r"it begins at blocks\.1\.mlp\.out"):
        trace(model, TEXT)


def test_bad_texts(tiny_tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="surrogate"):
        trace(make_model(tiny_tokenizer), "\ud800")
    without_end = Tokenizer.train_on(["abc"], vocab_size=256, special_tokens=[])
    with pytest.raises(DataError, match="there are no tokens"):
        trace(make_model(without_end), "")


def test_in_bfloat16(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make_model(tiny_tokenizer)
    loss = trace(model, TEXT).loss
    way = trace(model.bfloat16(), TEXT)
    assert way.loss == pytest.approx(loss, abs=0.1)
    draw(way, model, tmp_path)
