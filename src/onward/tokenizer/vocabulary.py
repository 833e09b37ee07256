"""What a byte-level BPE tokenizer consists of, whatever file it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onward._core import Bpe, SpecialTokens, base_bytes
from onward.errors import TokenizerError

MOST_TOKENS = 1 << 21
"""The core's bound, also on merges; the largest vocabularies in use have 2 ** 18 tokens."""

_IN_EVERY_TEXT = b"\t\n\r" + bytes(range(0x20, 0x7F))
"""The bytes that a tokenizer must have. SmolLM2's lacks some control characters, and bytes that no UTF-8 holds; what
is no token is left out of the ids, as `tokenizers` and llama.cpp leave it out."""
_NO_TOKEN = (1 << 32) - 1
"""What the core takes for the id of a byte that has none."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The tokens, and in which order they merge. Checked when it is made; raises TokenizerError."""

    tokens: list[bytes]
    """The bytes of each token by its id, those of special tokens too; empty for an id that is not in use."""
    merges: list[tuple[int, int, int]]
    """(left, right, made), by rank: the tokens left and right, side by side, become the token made."""
    special_tokens: dict[str, int] = field(default_factory=dict)
    """Tokens that no text turns into unless the caller says so."""
    split_pattern: str = "gpt2"
    """The name of how text is cut into the words inside which tokens merge."""
    whole_words: bool = False
    """Whether a word that is a token is that token, whatever the merges would make of it (as in Llama 3)."""
    post_processor: Any = None
    """What Hugging Face's tokenizers add around a text, such as a start token; kept for them, not used here."""

    def __post_init__(self) -> None:
        check_tokens(self.tokens, self.special_tokens)
        self._check_bytes()
        self._check_merges()

    def _check_bytes(self) -> None:
        base_ids = self.base_ids()
        missing = [byte for byte in _IN_EVERY_TEXT if bytes([byte]) not in base_ids]
        if missing:
            raise TokenizerError(
                f"the byte {missing[0]:#04x} is no token ({256 - len(base_ids)} of 256 are missing); "
                "a byte-level tokenizer has at least ASCII"
            )

    def _check_merges(self) -> None:
        _check_number("merges", self.merges)
        special = set(self.special_tokens.values())
        seen: set[tuple[int, int]] = set()
        for rank, (left, right, made) in enumerate(self.merges):
            if special & {left, right, made}:
                raise TokenizerError(f"merge {rank} is of a special token")
            if self.tokens[left] + self.tokens[right] != self.tokens[made]:
                raise TokenizerError(f"merge {rank}, of the ids {left} and {right}, does not make the token {made}")
            if (left, right) in seen:
                raise TokenizerError(f"merge {rank}, of the ids {left} and {right}, is there twice")
            seen.add((left, right))

    def whole_word_ids(self) -> dict[bytes, int]:
        """The tokens that a word may be as a whole, without merges."""
        if not self.whole_words:
            return {}
        special = set(self.special_tokens.values())
        return {token: id_ for id_, token in enumerate(self.tokens) if token and id_ not in special}

    def base_ids(self) -> dict[bytes, int]:
        """The id of each single byte."""
        special = set(self.special_tokens.values())
        return {token: id_ for id_, token in enumerate(self.tokens) if len(token) == 1 and id_ not in special}

    def to_core(self) -> Bpe:
        """The same in C++, which encodes and decodes."""
        base_ids = self.base_ids()
        return Bpe(
            self.split_pattern,
            self.tokens,
            [base_ids.get(bytes([byte]), _NO_TOKEN) for byte in range(256)],
            np.array(self.merges, dtype=np.uint32).reshape(-1, 3),
            list(self.whole_word_ids().values()),
        )

    def finder(self, names: Iterable[str]) -> SpecialTokens:
        """What finds these special tokens in text."""
        return SpecialTokens([(name, self.special_tokens[name]) for name in names])

    @property
    def unknown_id(self) -> None:
        """None: every text is made of bytes, and every byte is a token, or left out."""


def check_tokens(tokens: Sequence[bytes], special_tokens: dict[str, int]) -> None:
    """Refuse too many tokens, two that are the same, and special tokens that are no tokens.

    Raises:
        TokenizerError: with the ids.
    """
    _check_number("tokens", tokens)
    seen: dict[bytes, int] = {}
    for id_, token in enumerate(tokens):
        if token and seen.setdefault(token, id_) != id_:
            raise TokenizerError(f"the ids {seen[token]} and {id_} are both the token {token!r}")
    for text, id_ in special_tokens.items():
        if not text or tokens[id_] != text.encode():
            raise TokenizerError(f"the special token {text!r} is not the token of its id {id_}")


def _check_number(what: str, items: Sequence[Any]) -> None:
    if len(items) >= MOST_TOKENS:
        raise TokenizerError(f"{len(items):,} {what}, expected fewer than {MOST_TOKENS:,}")


def vocabulary_from_merges(
    merges: list[tuple[int, int, int]], special_tokens: Sequence[str], split_pattern: str = "gpt2"
) -> Vocabulary:
    """A vocabulary as training makes it: 256 bytes in GPT-2's order, a token for each merge, special tokens last."""
    tokens = [bytes([byte]) for byte in base_bytes()]
    for left, right, _ in merges:
        tokens.append(tokens[left] + tokens[right])
    specials = {text: len(tokens) + i for i, text in enumerate(special_tokens)}
    tokens += [text.encode() for text in special_tokens]
    return Vocabulary(tokens=tokens, merges=merges, special_tokens=specials, split_pattern=split_pattern)
