"""Words as tokens, each whole: what is no token of the vocabulary is unknown. A character is the shortest of words.

`simple.py` makes such vocabularies; in tokenizer.json, Hugging Face calls them WordLevel.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onward._core import split_ends
from onward.errors import TokenizerError
from onward.tokenizer.vocabulary import check_tokens

UNKNOWN_TOKEN = "<|unknown|>"
CHARACTERS = "characters"
"""The split pattern that makes a word of every character; it is none of the core's, for nothing would merge in it."""


@dataclass(frozen=True, kw_only=True)
class WordLevelVocabulary:
    """The words that are tokens. Checked when it is made; raises TokenizerError."""

    tokens: list[bytes]
    """Each word by its id in UTF-8, those of special tokens too; empty for an id that is not in use."""
    special_tokens: dict[str, int]
    """Tokens that no text turns into unless the caller says so."""
    unknown: str = UNKNOWN_TOKEN
    """The special token that every word becomes which is no token."""
    split_pattern: str
    """The name of how text is cut into words."""
    post_processor: Any = None
    """What Hugging Face's tokenizers add around a text, such as a start token; kept for them, not used here."""

    def __post_init__(self) -> None:
        check_tokens(self.tokens, self.special_tokens)
        if self.unknown not in self.special_tokens:
            raise TokenizerError(f"the token {self.unknown!r} of unknown words is no special token")

    def to_core(self) -> WordLevelCoder:
        """What encodes and decodes, as the core does for byte pairs."""
        return WordLevelCoder(self)

    def finder(self, names: Iterable[str]) -> SpecialWords:
        """What finds these special tokens in text."""
        return SpecialWords({name: self.special_tokens[name] for name in names})

    @property
    def unknown_id(self) -> int:
        """The id of what is no token."""
        return self.special_tokens[self.unknown]


class SpecialWords:
    """Finds the special tokens among these in text: the leftmost, of those at one place the longest."""

    def __init__(self, ids: dict[str, int]) -> None:
        self.ids = ids
        self._expression = re.compile("|".join(map(re.escape, sorted(ids, key=len, reverse=True))) or "(?!)")

    def find(self, text: str) -> tuple[int, int] | None:
        """Where in the UTF-8 of the text the first one begins, and its id; UnicodeEncodeError of half a character."""
        text.encode()
        match = self._expression.search(text)
        return (len(text[: match.start()].encode()), self.ids[match[0]]) if match else None

    def cut(self, text: str) -> Iterable[tuple[str, int | None]]:
        """The text before each of them, with its id; and last the rest, with none."""
        begin = 0
        for match in self._expression.finditer(text):
            yield text[begin : match.start()], self.ids[match[0]]
            begin = match.end()
        yield text[begin:], None


class WordLevelCoder:
    """Encodes and decodes by looking words up."""

    def __init__(self, vocabulary: WordLevelVocabulary) -> None:
        special = set(vocabulary.special_tokens.values())
        self._tokens = vocabulary.tokens
        self._ids = {token: id_ for id_, token in enumerate(self._tokens) if token and id_ not in special}
        self._unknown = vocabulary.unknown_id
        self._split_pattern = vocabulary.split_pattern
        self._dtype = np.min_scalar_type(max(len(self._tokens) - 1, 0))
        if self._split_pattern == CHARACTERS:
            self._id_of_code_point = self._code_points()

    def _code_points(self) -> NDArray[np.unsignedinteger]:
        """The id of each character up to the last that is a token, and behind it that of all others."""
        known = {ord(text): id_ for token, id_ in self._ids.items() if len(text := token.decode()) == 1}
        table = np.full(max(known, default=0) + 2, self._unknown, dtype=self._dtype)
        table[list(known)] = list(known.values())
        return table

    def encode(self, text: str, special: SpecialWords) -> list[int]:
        """The ids of a text."""
        return self.encode_array(text, special).tolist()

    def encode_array(self, text: str, special: SpecialWords) -> NDArray[np.unsignedinteger]:
        """The ids of a text, in the smallest unsigned type that the vocabulary fits in."""
        parts: list[NDArray[np.unsignedinteger]] = []
        for part, id_ in special.cut(text):
            parts.append(self._characters(part) if self._split_pattern == CHARACTERS else self._words(part))
            if id_ is not None:
                parts.append(np.array([id_], dtype=self._dtype))
        return np.concatenate(parts)

    def _characters(self, text: str) -> NDArray[np.unsignedinteger]:
        code_points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        return self._id_of_code_point[np.minimum(code_points, len(self._id_of_code_point) - 1)]

    def _words(self, text: str) -> NDArray[np.unsignedinteger]:
        words = cut_words(text, self._split_pattern)
        return np.array([self._ids.get(word, self._unknown) for word in words], dtype=self._dtype)

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> bytes:
        """The bytes of the ids; IndexError if one is no id."""
        array = np.asarray(ids)
        if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= len(self._tokens)):
            raise IndexError
        return b"".join([self._tokens[id_] for id_ in array.tolist()])

    def decode_text(self, ids: Sequence[int] | NDArray[np.integer], errors: str) -> str:
        """As `decode`; `errors` as of `bytes.decode`."""
        return self.decode(ids).decode("utf-8", errors)


def cut_words(text: str, split_pattern: str) -> Iterable[bytes]:
    """The words of a text; the core cuts them, unless each character is one.

    >>> list(cut_words("You're here", "gpt2"))
    [b'You', b"'re", b' here']
    """
    if split_pattern == CHARACTERS:
        return (character.encode() for character in text)
    data = text.encode()
    return (data[begin:end] for begin, end in itertools.pairwise([0, *split_ends(split_pattern, text)]))
