"""Byte-level BPE in plain Python: the explanation of what csrc/ does, and the oracle of its tests.

1. A pattern cuts the text into words (`split`). Tokens never reach from one word into the next.
2. A word begins as its UTF-8 bytes, each a token.
3. Training (`train`) counts how often every two neighbouring tokens occur, makes the most frequent pair a new
   token, replaces the pair by it everywhere, and begins again, until there are tokens enough.
4. Encoding (`encode`) repeats those merges on the words of a new text, in the order in which they were learned.
5. Decoding (`decode`) joins the bytes of the tokens.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from onward._core import char_classes
from onward.tokenizer.vocabulary import Vocabulary, vocabulary_from_merges

Merge = tuple[int, int, int]

PATTERNS = {
    # A word with the blank before it, or a number, or punctuation; English contractions apart; of several blanks, all
    # but the last, which goes with the next word.
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # Capitals in contractions, any one sign before a word, numbers by threes, line ends with what is before them.
    "llama3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # The same, but white space up to the end of the text is one word.
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\Z|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    # Words end where lower case is followed by upper case, contractions stay with them.
    "o200k": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # GPT-2's between digits, each of which is a word.
    "smollm2": r"\p{N}|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+",
    # What stands between white space.
    "whitespace": r" ?[^\s]+|\s+(?!\S)|\s+",
    # The whole text is one word.
    "byte": r"(?s:.+)",
}
"""The regular expressions as they were published, or (cl100k, smollm2) one that matches the same."""

_CLASSES = {
    r"\p{L}": (1, 2, 3),
    r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}": (1, 3, 4),
    r"\p{Ll}\p{Lm}\p{Lo}\p{M}": (2, 3, 4),
    r"\p{N}": (5,),
    r"\s": (6,),
}
"""What the expressions call a class: numbers in the core's table, Unicode 16.0. Python's own table is another."""


def split(text: str, pattern: str = "gpt2") -> list[str]:
    """Cut a text into words.

    >>> split("You're   here,  aren't you?")
    ['You', "'re", '  ', ' here', ',', ' ', ' aren', "'t", ' you', '?']
    """
    return _compiled(pattern).findall(text)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """The published expression, each class of characters written out in ranges."""
    expression = PATTERNS[pattern].replace(r"\S", r"[^\s]")
    for name, ranges in _ranges().items():
        for inside in re.findall(rf"\[[^\]]*?{re.escape(name)}", expression):
            expression = expression.replace(inside, inside.removesuffix(name) + ranges)
        expression = expression.replace(name, f"[{ranges}]")
    return re.compile(expression)


@functools.cache
def _ranges() -> dict[str, str]:
    ranges = dict.fromkeys(_CLASSES, "")
    code_point = 0
    for number, group in itertools.groupby(char_classes()):
        last = code_point + len(list(group)) - 1
        for name, numbers in _CLASSES.items():
            if number in numbers:
                ranges[name] += f"{re.escape(chr(code_point))}-{re.escape(chr(last))}"
        code_point = last + 1
    return ranges


def train(texts: Iterable[str], token_limit: int, pattern: str = "gpt2") -> list[Merge]:
    """Learn merges (left, right, made) until there are `token_limit` tokens or no pair is left.

    Of equally frequent pairs, that with the smaller ids is merged first.

    >>> train(["hello hello"], 258)
    [(68, 75, 256), (71, 256, 257)]
    """
    return extend(vocabulary_from_merges([], [], pattern), texts, token_limit)


def extend(base: Vocabulary, texts: Iterable[str], token_limit: int) -> list[Merge]:
    """Go on learning where `base` has stopped; no merge makes a token that it has.

    >>> base = vocabulary_from_merges(train(["hello hello"], 258), ["<end>"])
    >>> extend(base, ["hello hello"], 261)
    [(75, 78, 259), (257, 259, 260)]
    """
    tokens, taken = list(base.tokens), set(base.tokens)
    counted = Counter(word for text in texts for word in split(text, base.split_pattern))
    encode_word = _word_encoder(base)
    words = [(encode_word(word), count) for word, count in counted.items()]

    merges = []
    while len(tokens) < token_limit:
        pairs = Counter[tuple[int, int]]()
        for word, count in words:
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        free = [pair for pair in pairs if tokens[pair[0]] + tokens[pair[1]] not in taken]
        if not free:
            break
        best = min(free, key=lambda pair: (-pairs[pair], pair))
        made = len(tokens)
        tokens.append(tokens[best[0]] + tokens[best[1]])
        merges.append((*best, made))
        words = [(merge_pair(word, best, made), count) for word, count in words]
    return merges


def merge_pair(word: list[int], pair: tuple[int, int], made: int) -> list[int]:
    """Replace the pair by the token that it makes, from left to right.

    >>> merge_pair([1, 1, 1, 2], (1, 1), 9)
    [9, 1, 2]
    """
    merged = []
    at = 0
    while at < len(word):
        if tuple(word[at : at + 2]) == pair:
            merged.append(made)
            at += 2
        else:
            merged.append(word[at])
            at += 1
    return merged


def encode(text: str, vocabulary: Vocabulary) -> list[int]:
    """The ids of a text in which no special tokens are looked for."""
    encode_word = _word_encoder(vocabulary)
    return [id_ for word in split(text, vocabulary.split_pattern) for id_ in encode_word(word)]


def _word_encoder(vocabulary: Vocabulary) -> Callable[[str], list[int]]:
    base_ids = vocabulary.base_ids()
    ranks = {(left, right): (rank, made) for rank, (left, right, made) in enumerate(vocabulary.merges)}
    whole_words = vocabulary.whole_word_ids()

    def encode_word(text: str) -> list[int]:
        if text.encode() in whole_words:
            return [whole_words[text.encode()]]
        *_, (_, word) = _merge(_bytes_of(text, base_ids), ranks)
        return word

    return encode_word


def merge_steps(word: str, vocabulary: Vocabulary) -> list[tuple[int | None, list[int]]]:
    """What a word is before and after each merge: the merge's rank, and the tokens.

    The first step is the bytes, which no merge made; or the whole word, where the vocabulary takes it so.

    >>> from onward.tokenizer.vocabulary import vocabulary_from_merges
    >>> merge_steps("hello", vocabulary_from_merges(train(["hello hello"], 258), []))
    [(None, [71, 68, 75, 75, 78]), (0, [71, 256, 75, 78]), (1, [257, 75, 78])]
    """
    whole_words = vocabulary.whole_word_ids()
    if word.encode() in whole_words:
        return [(None, [whole_words[word.encode()]])]
    base_ids = vocabulary.base_ids()
    ranks = {(left, right): (rank, made) for rank, (left, right, made) in enumerate(vocabulary.merges)}
    return list(_merge(_bytes_of(word, base_ids), ranks))


def _bytes_of(word: str, base_ids: dict[bytes, int]) -> list[int]:
    """The word as the tokens of its bytes; what is no token is left out."""
    return [base_ids[bytes([byte])] for byte in word.encode() if bytes([byte]) in base_ids]


def _merge(word: list[int], ranks: dict[tuple[int, int], tuple[int, int]]) -> Iterator[tuple[int | None, list[int]]]:
    """The word, and what it is after each merge: always that of the lowest rank next, of several the leftmost."""
    yield None, word
    while known := [(ranks[pair], at) for at, pair in enumerate(itertools.pairwise(word)) if pair in ranks]:
        (rank, made), at = min(known)
        word = [*word[:at], made, *word[at + 2 :]]
        yield rank, word


def decode(ids: Iterable[int], vocabulary: Vocabulary) -> str:
    """The text of the ids; bytes that are not UTF-8 become U+FFFD."""
    return b"".join(vocabulary.tokens[id_] for id_ in ids).decode("utf-8", "replace")
