from __future__ import annotations

import pytest
import torch
from torch import Tensor

from onward.errors import ConfigError, ContextLengthError, TokenizerError
from onward.generation.generator import generate, stream, stream_tokens
from onward.generation.sample import Sampling
from onward.model.decoder import Decoder
from onward.tokenizer import Tokenizer


class Scripted:
    """A language model that says what it is told to, token by token, whatever it is given."""

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


def greedy_without_cache(model: Decoder, tokens: list[int], n_tokens: int) -> list[int]:
    for _ in range(n_tokens):
        tokens = [*tokens, int(model(torch.tensor([tokens]))[0, -1].argmax())]
    return tokens[-n_tokens:]


def test_greedy_is_what_the_uncached_model_says(tiny_model: Decoder) -> None:
    prompt = [1, 2, 3]
    cached = list(stream_tokens(tiny_model, prompt, max_tokens=20, sampling=Sampling(temperature=0), end_token=None))
    assert cached == greedy_without_cache(tiny_model, prompt, 20)


def test_same_seed_same_text(tiny_model: Decoder) -> None:
    texts = [generate(tiny_model, "Line", max_tokens=25, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert generate(tiny_model, "Line", max_tokens=25) != generate(tiny_model, "Line", max_tokens=25)


def test_a_text_may_outgrow_the_context(tiny_model: Decoder) -> None:
    """Once 32 positions are full, the model goes on from the last 16 tokens."""
    prompt = list(range(30))
    tokens = list(stream_tokens(tiny_model, prompt, max_tokens=9, sampling=Sampling(temperature=0), end_token=None))
    assert tokens[:3] == greedy_without_cache(tiny_model, prompt, 3)
    assert tokens[3:] == greedy_without_cache(tiny_model, (prompt + tokens[:3])[-16:], 6)


def test_pieces_are_whole_characters_and_end_at_the_end_token(tiny_tokenizer: Tokenizer) -> None:
    text = "日本 — naïve €"
    token_of = {tiny_tokenizer.token_bytes(token): token for token in range(tiny_tokenizer.vocab_size)}
    byte_tokens = [token_of[bytes([byte])] for byte in text.encode()]
    assert tiny_tokenizer.end_token is not None
    model = Scripted(tiny_tokenizer, [*byte_tokens, tiny_tokenizer.end_token, 5, 5])
    assert list(stream(model, "x", temperature=0)) == list(text)
    assert len(model.seen) == len(byte_tokens) + 1


def test_a_document_begins_with_the_end_token(tiny_tokenizer: Tokenizer) -> None:
    model = Scripted(tiny_tokenizer, [5, 5])
    generate(model, "", max_tokens=1)
    generate(model, "a", max_tokens=1)
    end = tiny_tokenizer.end_token
    assert model.seen == [[end], [end, *tiny_tokenizer.encode("a")]]


def test_what_cannot_be_generated_from(tiny_model: Decoder) -> None:
    with pytest.raises(ContextLengthError, match="the prompt has .* tokens; the model's context has room for 32"):
        stream(tiny_model, "Q" * 100)
    with pytest.raises(ConfigError, match="max_tokens must be at least 1"):
        stream(tiny_model, "a", max_tokens=0)
    with pytest.raises(TokenizerError, match="endoftext"):
        stream(tiny_model, "a <|endoftext|> b")
    tiny_model.tokenizer = None
    with pytest.raises(ConfigError, match="no tokenizer"):
        stream(tiny_model, "a")
