"""How a text is written: Sampling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from onward.errors import ConfigError

_MOST_TOKENS = 1 << 31


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which token comes next, when the text ends, and what is reported about it.

    The settings that change the logits take effect in the order in which they stand here: penalties, bias, banned
    tokens and least length, then temperature, top_k, top_p, min_p.

    Raises:
        ConfigError: a value out of its range.

    >>> Sampling(temperature=0.7, top_p=0.9, stop="END").stop
    ('END',)
    """

    repetition_penalty: float = 1.0
    """Logits of the tokens that prompt or text hold are divided by it where they are above 0, and multiplied where they
    are below (Keskar et al., CTRL, 2019); 1: none."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of each token that was written already (OpenAI's definition); from -2 to 2."""
    frequency_penalty: float = 0.0
    """Subtracted from the logit of each token once for every time that it was written; from -2 to 2."""
    logit_bias: Sequence[tuple[int, float]] = ()
    """Added to the logit of a token: its id, and a number from -100 to 100."""
    banned_tokens: Sequence[int] = ()
    """Token ids that are never chosen."""
    min_tokens: int = 0
    """No token that ends the text is chosen before there are so many tokens."""
    temperature: float = 0.8
    """Logits are divided by it: below 1 the likely gets likelier; 0 always takes the likeliest."""
    top_k: int | None = None
    """Draw from the k likeliest tokens only."""
    top_p: float | None = None
    """Draw from the fewest likeliest tokens whose probabilities reach p together."""
    min_p: float | None = None
    """Draw from the tokens that are at least p times as probable as the likeliest."""
    seed: int | None = None
    """The same seed gives the same text, whatever else is in the batch; none: another text each time."""
    max_tokens: int = 256
    """Stop after so many tokens, unless the text ends before."""
    stop: Sequence[str] = ()
    """The text ends before the first of these strings (or of one string), which is not shown."""
    stop_tokens: Sequence[int] = ()
    """Token ids that end the text beside those of the tokenizer, and are not shown."""
    n: int = 1
    """Texts to write for each prompt."""
    context: Literal["slide", "refuse"] = "slide"
    """When prompt and text outgrow the model's context: go on from the last half of it, or refuse before it begins."""
    logprobs: int | None = None
    """Report the log-probability of each token and of so many of the likeliest, as the model gave them."""
    explain: bool = False
    """Report, for each token, the candidates before and after every setting that changed them."""

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        if isinstance(self.logit_bias, Mapping):  # as in OpenAI's API
            object.__setattr__(self, "logit_bias", self.logit_bias.items())
        for name in ("stop", "stop_tokens", "banned_tokens", "logit_bias"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_numbers()
        self._check_tokens_and_texts()

    def _check_numbers(self) -> None:
        _in_range("repetition_penalty", self.repetition_penalty, 0.01, 100, "1 for none")
        _in_range("presence_penalty", self.presence_penalty, -2, 2, "0 for none")
        _in_range("frequency_penalty", self.frequency_penalty, -2, 2, "0 for none")
        if not (_is_number(self.temperature) and math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature must be 0 (greedy) or above; got {self.temperature!r}")
        check_whole("top_k", self.top_k, 1, _MOST_TOKENS, "None to draw from all")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value <= 1):
                raise ConfigError(f"{name} must be above 0 and at most 1; got {value!r}; None to draw from all")
        check_whole("seed", self.seed, 0, (1 << 63) - 1, "None for another text each time")
        check_whole("min_tokens", self.min_tokens, 0, _MOST_TOKENS, "0 for none")
        check_whole("max_tokens", self.max_tokens, 1, _MOST_TOKENS, "give a smaller number")
        if self.min_tokens > self.max_tokens:
            raise ConfigError(f"min_tokens = {self.min_tokens} is above max_tokens = {self.max_tokens}; raise that")
        check_whole("n", self.n, 1, 128, "ask again for more")
        check_whole("logprobs", self.logprobs, 0, 1000, "None for no report")

    def _check_tokens_and_texts(self) -> None:
        for name, tokens in self._named_tokens().items():
            for token in tokens:
                check_whole(f"a token id in {name}", token, 0, _MOST_TOKENS, "see: onward tokenizer encode")
        for token, bias in self.logit_bias:
            _in_range(f"the logit_bias of token {token}", bias, -100, 100, "banned_tokens for never")
        for text in self.stop:
            if not (isinstance(text, str) and text):
                raise ConfigError(f"a stop string must have at least one character; got {text!r}; leave it out")
        if self.context not in ("slide", "refuse"):
            raise ConfigError(f"context must be 'slide' or 'refuse'; got {self.context!r}")

    def check_vocabulary(self, vocab_size: int) -> None:
        """Refuse token ids that a model of `vocab_size` tokens does not have.

        Raises:
            ConfigError: with the setting and the id.
        """
        for name, tokens in self._named_tokens().items():
            for token in tokens:
                if token >= vocab_size:
                    raise ConfigError(f"{name} names token {token}; the model's tokens are 0 to {vocab_size - 1}")

    def _named_tokens(self) -> dict[str, Sequence[int]]:
        biased = [token for token, _ in self.logit_bias]
        return {"banned_tokens": self.banned_tokens, "stop_tokens": self.stop_tokens, "logit_bias": biased}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _in_range(name: str, value: Any, least: float, most: float, way_out: str) -> None:
    if not (_is_number(value) and least <= value <= most):
        raise ConfigError(f"{name} must be from {least} to {most}; got {value!r}; {way_out}")


def check_whole(name: str, value: Any, least: int, most: int, way_out: str) -> None:
    """Refuse what is neither None nor a whole number in its range.

    Raises:
        ConfigError: with the range and the way out.
    """
    if value is not None and not (type(value) is int and least <= value <= most):
        raise ConfigError(f"{name} must be a whole number from {least} to {most:,}; got {value!r}; {way_out}")
