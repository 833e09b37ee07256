from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from onward.errors import ConfigError, ContextLengthError, DataError, NonFiniteError, TokenizerError
from onward.generation.batch import Batch, Row
from onward.generation.config import Sampling
from onward.generation.generator import generate, generate_batch, stream
from onward.model.decoder import Decoder
from onward.tokenizer import Tokenizer


class Scripted:
    """A language model that says what it is told to, token by token, whatever it is given; it remembers nothing."""

    def __init__(self, tokenizer: Tokenizer, script: list[int]) -> None:
        self.tokenizer, self.vocab_size, self.context_length = tokenizer, tokenizer.vocab_size, 16
        self.script, self.seen = script, list[list[int]]()

    def start(self, batch: int, source: object = None) -> None:
        assert (batch, source) == (1, None)

    def __call__(self, tokens: Tensor, state: object = None, last_only: bool = False) -> Tensor:
        logits = torch.full((1, 1, self.vocab_size), -9.0)
        logits[0, 0, self.script[len(self.seen)]] = 9.0
        self.seen.append(tokens[0].tolist())
        return logits


@pytest.fixture
def prompts() -> list[list[int]]:
    """Unequal, and two of them the same."""
    return [[1, 2, 3], list(range(20)), [7], [1, 2, 3], [5, 6, 7, 8], [9]]


def byte_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    token_of = {tokenizer.token_bytes(token): token for token in range(tokenizer.vocab_size)}
    return [token_of[bytes([byte])] for byte in text.encode()]


def greedy_without_cache(model: Decoder, tokens: list[int], n_tokens: int) -> list[int]:
    for _ in range(n_tokens):
        tokens = [*tokens, int(model(torch.tensor([tokens]))[0, -1].argmax())]
    return tokens[-n_tokens:]


def written(model: Any, prompt: Any, **settings: Any) -> list[int]:
    return generate_batch(model, [prompt], Sampling(**settings))[0].tokens


# ---- one text ----


def test_greedy_is_what_the_uncached_model_says(tiny_model: Decoder) -> None:
    assert written(tiny_model, [1, 2, 3], max_tokens=20, temperature=0) == greedy_without_cache(
        tiny_model, [1, 2, 3], 20
    )


def test_same_seed_same_text(tiny_model: Decoder) -> None:
    texts = [generate(tiny_model, "Line", max_tokens=25, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert generate(tiny_model, "Line", max_tokens=25) != generate(tiny_model, "Line", max_tokens=25)


def test_a_prompt_may_be_tokens(tiny_model: Decoder) -> None:
    tokens = tiny_model.to_tokens("Line")[0].tolist()
    assert generate(tiny_model, tokens, seed=1, max_tokens=20) == generate(tiny_model, "Line", seed=1, max_tokens=20)


def test_a_text_may_outgrow_the_context(tiny_model: Decoder) -> None:
    """Once 32 positions are full, the model goes on from the last 16 tokens."""
    prompt = list(range(30))
    tokens = written(tiny_model, prompt, max_tokens=9, temperature=0)
    assert tokens[:3] == greedy_without_cache(tiny_model, prompt, 3)
    assert tokens[3:] == greedy_without_cache(tiny_model, (prompt + tokens[:3])[-16:], 6)


def test_or_be_refused_before_it_begins(tiny_model: Decoder) -> None:
    fits = written(tiny_model, list(range(30)), max_tokens=3, temperature=0, context="refuse")
    assert fits == greedy_without_cache(tiny_model, list(range(30)), 3)
    with pytest.raises(ContextLengthError, match="context of 32 has room for 3 more, not for max_tokens = 4; lower it"):
        stream(tiny_model, list(range(30)), max_tokens=4, context="refuse")


def test_pieces_are_whole_characters_and_end_at_the_end_token(tiny_tokenizer: Tokenizer) -> None:
    text = "日本 — naïve €"
    tokens = byte_tokens(tiny_tokenizer, text)
    model = Scripted(tiny_tokenizer, [*tokens, tiny_tokenizer.end_token or 0, 5, 5])
    assert list(stream(model, "x", temperature=0)) == list(text)
    assert len(model.seen) == len(tokens) + 1


def test_a_piece_comes_as_soon_as_its_token_is_chosen(tiny_tokenizer: Tokenizer) -> None:
    model = Scripted(tiny_tokenizer, byte_tokens(tiny_tokenizer, "abc"))
    pieces: Iterator[str] = stream(model, "x", temperature=0)
    assert next(pieces) == "a"
    assert len(model.seen) == 1


def test_a_document_begins_with_the_end_token(tiny_tokenizer: Tokenizer) -> None:
    model = Scripted(tiny_tokenizer, [5, 5])
    generate(model, "", max_tokens=1)
    generate(model, "a", max_tokens=1)
    end = tiny_tokenizer.end_token
    assert model.seen == [[end], [end, *tiny_tokenizer.encode("a")]]


# ---- how a text ends ----


def test_llama_3_has_a_token_to_begin_with_and_several_to_end() -> None:
    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|python_tag|>"]
    tokenizer = Tokenizer.train_on(["a b"], vocab_size=260, special_tokens=marks)
    begin, end, end_of_turn, _ = (tokenizer.special_tokens[mark] for mark in marks)
    assert (tokenizer.begin_token, tokenizer.end_token) == (begin, end)
    assert tokenizer.closing_tokens == [end, end_of_turn]
    for closing in (end, end_of_turn):
        model = Scripted(tokenizer, [*tokenizer.encode("b"), closing, 5])
        assert generate(model, "a", temperature=0) == "b"
        assert model.seen[0] == [begin, *tokenizer.encode("a")]


@pytest.mark.parametrize(
    ("settings", "text", "n_tokens", "reason"),
    [
        ({}, "ab — cd", 9, "stop"),
        ({"max_tokens": 4}, "ab \N{REPLACEMENT CHARACTER}", 4, "length"),
        ({"max_tokens": 9}, "ab — cd", 9, "length"),
        ({"stop": "cd"}, "ab — ", 9, "stop"),
        ({"stop": "cd", "max_tokens": 9}, "ab — ", 9, "stop"),
        ({"stop": "cd", "max_tokens": 8}, "ab — c", 8, "length"),
        ({"stop": ["x", "—"]}, "ab ", 6, "stop"),
        ({"stop": "cde"}, "ab — cd", 9, "stop"),
    ],
)
def test_how_a_text_ends(
    tiny_tokenizer: Tokenizer, settings: dict[str, Any], text: str, n_tokens: int, reason: str
) -> None:
    script = [*byte_tokens(tiny_tokenizer, "ab — cd"), tiny_tokenizer.end_token or 0]
    completion = generate_batch(Scripted(tiny_tokenizer, script), ["x"], Sampling(temperature=0, **settings))[0]
    assert (completion.text, len(completion.tokens), completion.finish_reason) == (text, n_tokens, reason)
    assert "".join(stream(Scripted(tiny_tokenizer, script), "x", temperature=0, **settings)) == text


def test_a_stop_token_ends_and_is_not_shown(tiny_tokenizer: Tokenizer) -> None:
    a, b, c = byte_tokens(tiny_tokenizer, "abc")
    completion = generate_batch(
        Scripted(tiny_tokenizer, [a, b, c]), ["x"], Sampling(temperature=0, stop_tokens=[c], logprobs=0, explain=True)
    )[0]
    assert (completion.text, completion.tokens, completion.finish_reason) == ("ab", [a, b], "stop")
    assert len(completion.logprobs or []) == 2
    assert [step.token for step in completion.explanations or []] == [a, b, c]


def test_no_end_before_the_least_length(tiny_tokenizer: Tokenizer) -> None:
    end = tiny_tokenizer.end_token or 0
    completion = generate_batch(Scripted(tiny_tokenizer, [end] * 9), ["x"], Sampling(temperature=0, min_tokens=3))[0]
    assert len(completion.tokens) == 3
    assert end not in completion.tokens


# ---- many texts ----


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_each_prompt_gives_in_a_batch_what_it_gives_alone(
    tiny_model: Decoder, prompts: list[list[int]], batch_size: int
) -> None:
    """Also past the context, where rows are read anew at different steps."""
    sampling = Sampling(max_tokens=40, temperature=0)
    together = generate_batch(tiny_model, prompts, sampling, batch_size=batch_size)
    assert [one.tokens for one in together] == [
        written(tiny_model, prompt, max_tokens=40, temperature=0) for prompt in prompts
    ]
    assert [one.prompt for one in together] == prompts


def test_the_same_seed_gives_the_same_text_whatever_else_is_in_the_batch(
    tiny_model: Decoder, prompts: list[list[int]]
) -> None:
    settings = [Sampling(max_tokens=5 + 7 * i, seed=i, temperature=0.5 * i, top_p=0.9) for i in range(len(prompts))]
    together = generate_batch(tiny_model, prompts, settings)
    alone = [generate_batch(tiny_model, [prompt], how)[0] for prompt, how in zip(prompts, settings, strict=True)]
    assert together == alone


def test_n_texts_of_a_prompt_share_its_reading(tiny_model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = list[tuple[int, int]]()
    resid = tiny_model.resid
    monkeypatch.setattr(
        tiny_model, "resid", lambda tokens, *rest: [passes.append(tuple(tokens.shape)), resid(tokens, *rest)][1]
    )
    sampling = Sampling(n=5, seed=2, max_tokens=6, temperature=1)
    five = generate_batch(tiny_model, [[1, 2, 3]], sampling)
    assert passes == [(1, 3)] + [(5, 1)] * 5
    assert len({one.text for one in five}) == 5
    again = generate_batch(tiny_model, [[4], [1, 2, 3]], [Sampling(), sampling])[1:]
    assert [one.tokens for one in five] == [one.tokens for one in again]
    assert five[0].tokens == written(tiny_model, [1, 2, 3], seed=2, max_tokens=6, temperature=1)


def test_rows_that_end_leave_the_batch(tiny_model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()
    resid = tiny_model.resid
    monkeypatch.setattr(tiny_model, "resid", lambda tokens, *rest: [sizes.append(len(tokens)), resid(tokens, *rest)][1])
    generate_batch(tiny_model, [[1], [2], [3]], [Sampling(max_tokens=n, temperature=0) for n in (2, 4, 3)])
    assert sizes == [3, 3, 2, 1]


def test_a_row_can_be_taken_away(tiny_model: Decoder) -> None:
    rows = [Row(tiny_model, prompt, Sampling(temperature=0, max_tokens=6)) for prompt in ([1, 2], [3], [4, 5])]
    batch = Batch(tiny_model)
    batch.add(rows)
    batch.step()
    batch.remove([rows[1]])
    while len(batch):
        batch.step()
    assert [row.tokens for row in rows] == [
        greedy_without_cache(tiny_model, [1, 2], 6),
        greedy_without_cache(tiny_model, [3], 1),
        greedy_without_cache(tiny_model, [4, 5], 6),
    ]


def test_logprobs_are_the_model_s(tiny_model: Decoder) -> None:
    prompt = [1, 2, 3]
    completion = generate_batch(
        tiny_model, [prompt], Sampling(max_tokens=5, seed=1, top_k=3, temperature=0.5, logprobs=4)
    )[0]
    expected = tiny_model(torch.tensor([prompt + completion.tokens])).log_softmax(-1)[0, 2:]
    assert completion.logprobs is not None
    for row, token, reported in zip(expected, completion.tokens, completion.logprobs, strict=False):
        assert reported.token == token
        assert reported.logprob == pytest.approx(float(row[token]), abs=1e-4)
        values, tokens = row.topk(4)
        assert list(reported.best) == tokens.tolist()
        assert list(reported.best.values()) == pytest.approx(values.tolist(), abs=1e-4)


def test_a_model_without_a_tokenizer_writes_tokens(tiny_model: Decoder) -> None:
    with_text = generate_batch(tiny_model, [[1, 2]], Sampling(temperature=0, max_tokens=4))[0]
    tiny_model.tokenizer = None
    without = generate_batch(tiny_model, [[1, 2]], Sampling(temperature=0, max_tokens=4))[0]
    assert (without.tokens, without.text) == (with_text.tokens, "")


def test_what_the_tokenizer_has_no_text_for_is_never_chosen(tiny_model: Decoder) -> None:
    """Vocabularies are often padded to a round number."""
    tiny_model.tokenizer = Tokenizer.train_on(["ab"], vocab_size=257)
    tokens = written(tiny_model, [1], max_tokens=200, temperature=50.0, seed=1)
    assert max(tokens) < 257


# ---- what cannot be done ----


def test_what_cannot_be_generated_from(tiny_model: Decoder) -> None:
    with pytest.raises(ContextLengthError, match="the prompt has .* tokens; the model's context has room for 32"):
        stream(tiny_model, "Q" * 100)
    with pytest.raises(ConfigError, match="max_tokens must be a whole number from 1"):
        stream(tiny_model, "a", max_tokens=0)
    with pytest.raises(ConfigError, match=r"unknown key 'temprature' \(did you mean 'temperature'\?\)"):
        stream(tiny_model, "a", temprature=0)
    with pytest.raises(TokenizerError, match="endoftext"):
        stream(tiny_model, "a <|endoftext|> b")
    with pytest.raises(DataError, match="token 1 of the prompt is 300; the model's tokens are 0 to 299"):
        stream(tiny_model, [5, 300])
    with pytest.raises(DataError, match="token 0 of the prompt is -1"):
        generate_batch(tiny_model, [[5], [-1]])
    with pytest.raises(ConfigError, match="the prompt is empty"):
        stream(tiny_model, [])
    with pytest.raises(ConfigError, match="for n = 2 call generate_batch"):
        generate(tiny_model, "a", n=2)
    with pytest.raises(ConfigError, match="2 prompts and 1 samplings"):
        generate_batch(tiny_model, ["a", "b"], [Sampling()])
    with pytest.raises(ConfigError, match="must be a list of prompts"):
        generate_batch(tiny_model, "a")
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        generate_batch(tiny_model, ["a"], batch_size=0)
    with pytest.raises(ConfigError, match="banned_tokens names token 300"):
        generate(tiny_model, "a", banned_tokens=[300])
    with pytest.raises(ConfigError, match="leave no token to choose"):
        generate(tiny_model, "a", banned_tokens=range(300))
    tiny_model.tokenizer = None
    with pytest.raises(ConfigError, match="no tokenizer"):
        stream(tiny_model, "a")
    with pytest.raises(ConfigError, match="stop strings need a model with a tokenizer"):
        generate_batch(tiny_model, [[1]], Sampling(stop="a"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_not_finite(tiny_model: Decoder, value: float, temperature: float) -> None:
    torch.nn.init.constant_(tiny_model.unembed.weight, value)
    with pytest.raises(NonFiniteError, match="logits are not finite"):
        generate(tiny_model, "a", temperature=temperature)
