"""Characters or words as tokens: tokenizers that fit on a page, with the interface of all others.

Their vocabulary is what the training text holds. Whatever it does not hold becomes the token <|unknown|>, and is lost.
A word has the blank before it inside, so that joining tokens gives the text back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from onward._core import split_patterns
from onward.errors import TokenizerError
from onward.tokenizer.sources import Paths, TextFiles, cut_safely
from onward.tokenizer.tokenizer import END_TOKEN, Tokenizer
from onward.tokenizer.train import check_special_tokens, surrogate_message
from onward.tokenizer.vocabulary import MOST_TOKENS
from onward.tokenizer.word_level import CHARACTERS, UNKNOWN_TOKEN, WordLevelVocabulary, cut_words

Kind = Literal["characters", "words"]


def train(
    files: Paths,
    kind: Kind,
    *,
    vocab_size: int | None = None,
    special_tokens: Sequence[str] = (END_TOKEN,),
    split_pattern: str = "gpt2",
    min_frequency: int = 1,
) -> Tokenizer:
    """Make a tokenizer of the characters or words of files of UTF-8 text, read block by block.

    Args:
        files: as of `Tokenizer.train`.
        kind: "characters" or "words".
        vocab_size: the most tokens to have, <|unknown|> and the special tokens among them: the most frequent are
            kept. None: no limit.
        special_tokens: tokens that stand for no text; they get the last ids, after <|unknown|>.
        split_pattern: how text is cut into words, as of `Tokenizer.train`.
        min_frequency: how often a word must occur to be a token. With 2, what occurs once shows a model in training
            what unknown words are like.

    Raises:
        TokenizerError: a file that cannot be read or is not UTF-8; a setting out of range.

    >>> import pathlib, tempfile
    >>> book = pathlib.Path(tempfile.mkdtemp()) / "book.txt"
    >>> _ = book.write_text("to be or not to be")
    >>> train(book, "characters").pieces(range(9))
    [' ', 'b', 'e', 'n', 'o', 'r', 't', '<|unknown|>', '<|endoftext|>']
    """
    pattern = _pattern_of(kind, split_pattern)
    counts = Counter[bytes]()
    for _, blocks in TextFiles(files).texts():
        for block in blocks if pattern == CHARACTERS else cut_safely(blocks, pattern):
            _count(counts, block.decode(), pattern)
    return _tokenizer(counts, pattern, vocab_size, special_tokens, min_frequency)


def train_on(
    texts: Iterable[str],
    kind: Kind,
    *,
    vocab_size: int | None = None,
    special_tokens: Sequence[str] = (END_TOKEN,),
    split_pattern: str = "gpt2",
    min_frequency: int = 1,
) -> Tokenizer:
    """Make a tokenizer of the characters or words of texts; otherwise as `train`.

    >>> tokenizer = train_on(["to be or not to be"], "words")
    >>> tokenizer.pieces(tokenizer.encode("to be or what"))
    ['to', ' be', ' or', '<|unknown|>']
    """
    pattern = _pattern_of(kind, split_pattern)
    counts = Counter[bytes]()
    for i, text in enumerate([texts] if isinstance(texts, str) else texts):
        try:
            text.encode()  # before it is cut, so that the error knows the place
            _count(counts, text, pattern)
        except UnicodeEncodeError as error:
            raise TokenizerError(f"text {i}: {surrogate_message(text, error.start)}") from error
    return _tokenizer(counts, pattern, vocab_size, special_tokens, min_frequency)


def _pattern_of(kind: Kind, split_pattern: str) -> str:
    if kind not in get_args(Kind):
        raise TokenizerError(f"kind is {kind!r}, expected {' or '.join(map(repr, get_args(Kind)))}")
    if split_pattern not in split_patterns():
        raise TokenizerError(
            f"the split pattern {split_pattern!r} is unknown; there are: {', '.join(split_patterns())}"
        )
    return CHARACTERS if kind == "characters" else split_pattern


def _count(counts: Counter[bytes], text: str, pattern: str) -> None:
    if pattern == CHARACTERS:  # there are few: counted first, they need no encoding one by one
        counts.update({character.encode(): count for character, count in Counter(text).items()})
    else:
        counts.update(cut_words(text, pattern))


def _tokenizer(
    counts: Counter[bytes], pattern: str, vocab_size: int | None, special_tokens: Sequence[str], min_frequency: int
) -> Tokenizer:
    """The most frequent words by frequency; characters by code point, for a reader finds them so."""
    special = [UNKNOWN_TOKEN, *special_tokens]
    check_special_tokens(special)
    most = MOST_TOKENS - 1 if vocab_size is None else vocab_size
    if not len(special) < most < MOST_TOKENS:
        raise TokenizerError(
            f"vocab_size is {most}, expected {len(special) + 1} ({len(special)} special, one other) "
            f"to {MOST_TOKENS - 1}"
        )
    if min_frequency < 1:
        raise TokenizerError(f"min_frequency is {min_frequency}, expected 1 or more")
    frequent = [(-count, word) for word, count in counts.items() if count >= min_frequency]
    words = [word for _, word in sorted(frequent)[: most - len(special)]]
    if not words:
        raise TokenizerError(f"the text has no words that occur {min_frequency} times or more; give more text")
    if pattern == CHARACTERS:
        words.sort()
    return Tokenizer(
        WordLevelVocabulary(
            tokens=words + [text.encode() for text in special],
            special_tokens={text: len(words) + i for i, text in enumerate(special)},
            split_pattern=pattern,
        )
    )
