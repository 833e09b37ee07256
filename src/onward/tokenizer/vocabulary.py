"""What a byte-level BPE tokenizer consists of, whatever file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onward._core import base_bytes
from onward.errors import TokenizerError

MOST_TOKENS = 1 << 21
"""The core's bound, also on merges; the largest vocabularies in use have 2 ** 18 tokens."""


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
        for what, items in (("tokens", self.tokens), ("merges", self.merges)):
            if len(items) >= MOST_TOKENS:
                raise TokenizerError(f"{len(items):,} {what}, expected fewer than {MOST_TOKENS:,}")
        self._check_tokens()
        self._check_merges()

    def _check_tokens(self) -> None:
        seen: dict[bytes, int] = {}
        for id_, token in enumerate(self.tokens):
            if token and seen.setdefault(token, id_) != id_:
                raise TokenizerError(f"the ids {seen[token]} and {id_} are both the token {token!r}")
        for text, id_ in self.special_tokens.items():
            if not text or self.tokens[id_] != text.encode():
                raise TokenizerError(f"the special token {text!r} is not the token of its id {id_}")
        base_ids = self.base_ids()
        missing = [byte for byte in range(256) if bytes([byte]) not in base_ids]
        if missing:
            raise TokenizerError(
                f"the byte {missing[0]:#04x} is no token ({len(missing)} of 256 are missing); "
                "a byte-level tokenizer has them all"
            )

    def _check_merges(self) -> None:
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
