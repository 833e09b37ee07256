"""The C++ core, as Python sees it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

class SpecialTokens:
    """Finds the special tokens among these (text, id) in text: the leftmost, of those at one place the longest."""

    def __init__(self, tokens: Sequence[tuple[str, int]], /) -> None: ...
    def find(self, text: str | bytes, /) -> tuple[int, int] | None:
        """Where in the UTF-8 of the text the first one begins, and its id."""

class Bpe:
    """A vocabulary, which encodes and decodes; any number of threads may use it at once."""

    def __init__(
        self,
        split_pattern: str,
        tokens: Sequence[bytes],
        id_of_byte: Sequence[int],
        merges: NDArray[np.uint32],
        whole_words: Sequence[int],
        /,
    ) -> None: ...
    def encode(self, text: str | bytes, special: SpecialTokens, /) -> list[int]: ...
    def encode_array(self, text: str | bytes, special: SpecialTokens, /) -> NDArray[np.unsignedinteger]: ...
    def decode(self, ids: NDArray[np.integer] | list[int], /) -> bytes:
        """Of arrays, those of uint16 and uint32; IndexError if one is no id."""

class WordCounts:
    """The distinct words of any amount of text, counted."""

    def __init__(self, split_pattern: str, /) -> None: ...
    def __len__(self) -> int: ...
    def feed(self, part: str | bytes, /) -> None:
        """Count the next part of a text, cut anywhere; ValueError if it is not UTF-8."""

    def end_text(self) -> None: ...
    def train(
        self, token_limit: int, /, min_frequency: int = 1, max_token_length: int = 0xFFFFFFFF
    ) -> list[tuple[int, int, int]]:
        """Merge (left, right, made) until there are so many tokens, or no pair is left that the limits allow."""

def merges_of_ranks(tokens: Sequence[bytes], /) -> list[tuple[int, int, int]]:
    """The merges (left, right, made) behind tokens listed by rank; ValueError if one is not made by two before it."""

def split_patterns() -> list[str]:
    """The names of the split patterns there are."""

def split_ends(split_pattern: str, text: str | bytes, /) -> list[int]:
    """Where each word of the text ends, in bytes."""

def char_classes() -> bytes:
    """For each code point its class: 0 other, 1 upper, 2 lower, 3 other letter, 4 mark, 5 number, 6 white space."""

def base_bytes() -> bytes:
    """The bytes in the order of their ids, 0 to 255: GPT-2's, which puts those that print first."""
