from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from onward.errors import ConfigError, ContextLengthError, DataError, NonFiniteError
from onward.generation.beam import beam_search
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.tokenizer import Tokenizer
from tests.conftest import random_decoder

ENDS = [0, 5, 9]


class Texts:
    """The least state that there can be: what each row read."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = rows

    def select(self, rows: list[int]) -> Texts:
        return Texts([list(self.rows[row]) for row in rows])

    def append(self, other: Texts) -> None:
        self.rows += other.rows


class Uncached:
    """A language model of any function from tokens (batch, pos) to logits, which reads everything at every step."""

    def __init__(self, read: Any, vocab_size: int) -> None:
        self.read, self.vocab_size, self.context_length = read, vocab_size, 64
        self.tokenizer: Tokenizer | None = None

    def start(self, batch: int, source: object = None) -> Texts:
        return Texts([[] for _ in range(batch)])

    def __call__(self, tokens: Tensor, state: Any = None, last_only: bool = False) -> Tensor:
        for row, new in zip(state.rows, tokens.tolist(), strict=True):
            row += new
        return self.read(torch.tensor(state.rows))[:, -1:]


def decoder(vocab_size: int = 30) -> Decoder:
    config = ModelConfig(vocab_size=vocab_size, context_length=64, n_layers=2, d_model=16, n_heads=2)
    return random_decoder(config)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(vocab_size=20, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)
    return GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("beams", "n", "max_tokens"), [(2, 2, 12), (4, 3, 12), (5, 5, 3), (7, 1, 20)])
def test_beams_are_those_of_transformers(gpt2: Any, beams: int, n: int, max_tokens: int, length_penalty: float) -> None:
    n_stopped = 0
    for prompt in ([1, 2, 3], [7], [19, 4]):
        ours = beam_search(
            Uncached(lambda tokens: gpt2(tokens).logits, 20),
            prompt,
            beams=beams,
            n=n,
            max_tokens=max_tokens,
            length_penalty=length_penalty,
            stop_tokens=ENDS,
        )
        theirs = gpt2.generate(
            torch.tensor([prompt]),
            num_beams=beams,
            num_return_sequences=n,
            max_new_tokens=max_tokens,
            length_penalty=length_penalty,
            early_stopping="never",
            do_sample=False,
            eos_token_id=ENDS,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        found = [sequence[len(prompt) :] for sequence in theirs.sequences.tolist()]
        texts = [list(itertools.takewhile(lambda token: token not in ENDS, sequence)) for sequence in found]
        assert [one.tokens for one in ours] == texts
        assert [one.score for one in ours] == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-4)
        n_stopped += sum(one.finish_reason == "stop" for one in ours)
    assert n_stopped > 0 or max_tokens == 3 or length_penalty == 2


@pytest.mark.parametrize("length_penalty", [-0.5, 0.0, 1.0, 3.0])
def test_enough_beams_find_what_trying_all_texts_finds(length_penalty: float) -> None:
    model, prompt, end, longest = decoder(vocab_size=4), [1, 2], 3, 4
    scores = {}
    for length in range(1, longest + 1):
        for text in itertools.product(range(4), repeat=length):
            if end in text[:-1] or (text[-1] != end and length < longest):
                continue
            logprobs = model(torch.tensor([prompt + list(text)])).double().log_softmax(-1)[0, 1:-1]
            total = float(logprobs.gather(1, torch.tensor(text)[:, None]).sum())
            scores[text] = total / length**length_penalty
    best = sorted(scores, key=lambda text: -scores[text])[:6]
    found = beam_search(
        model, prompt, beams=128, n=6, max_tokens=longest, length_penalty=length_penalty, stop_tokens=[end]
    )
    assert [tuple(one.tokens) for one in found] == [tuple(token for token in text if token != end) for text in best]
    assert [one.score for one in found] == pytest.approx([scores[text] for text in best], abs=1e-4)
    assert [one.finish_reason for one in found] == ["stop" if text[-1] == end else "length" for text in best]


@pytest.mark.parametrize("beams", [2, 3, 6])
def test_a_reordered_cache_gives_what_reading_anew_gives(beams: int) -> None:
    model = decoder()
    settings: dict[str, Any] = {"beams": beams, "n": beams, "max_tokens": 20, "stop_tokens": [5]}
    cached = beam_search(model, [1, 2, 3], **settings)
    uncached = beam_search(Uncached(model, 30), [1, 2, 3], **settings)
    assert [one.tokens for one in cached] == [one.tokens for one in uncached]
    assert [one.score for one in cached] == pytest.approx([one.score for one in uncached], abs=1e-4)


def test_the_text_of_a_beam(tiny_model: Decoder) -> None:
    (found,) = beam_search(tiny_model, "Line", beams=3, max_tokens=8)
    assert tiny_model.tokenizer is not None
    assert found.text == tiny_model.tokenizer.decode(found.tokens)
    assert found.prompt == tiny_model.to_tokens("Line")[0].tolist()


def test_all_tokens_may_end_a_text() -> None:
    found = beam_search(decoder(vocab_size=3), [1], beams=3, n=3, max_tokens=5, stop_tokens=[0, 1, 2])
    assert [one.tokens for one in found] == [[], [], []]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beams": 1}, "beams must be a whole number from 2 to 128; got 1; one beam is greedy: temperature=0"),
        ({"beams": 10**9}, "beams must be a whole number from 2 to 128"),
        ({"beams": 2, "n": 3}, "n must be a whole number from 1 to 2; got 3; raise beams"),
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1"),
        ({"length_penalty": float("nan")}, "length_penalty must be from -100 to 100; got nan"),
        ({"stop_tokens": [30]}, "stop_tokens names token 30; the model's tokens are 0 to 29"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        beam_search(decoder(), [1], **{"max_tokens": 5, **settings})


def test_what_cannot_be_searched_from() -> None:
    model = decoder()
    with pytest.raises(ContextLengthError, match="context of 64 has room for 63 more, not for max_tokens = 64"):
        beam_search(model, [1, 2], max_tokens=64)
    with pytest.raises(DataError, match="token 0 of the prompt is 30"):
        beam_search(model, [30], max_tokens=5)
    torch.nn.init.constant_(model.unembed.weight, torch.nan)
    with pytest.raises(NonFiniteError, match="logits are not finite"):
        beam_search(model, [1], max_tokens=5)
