"""Learning a vocabulary: words are counted by several threads, then pairs are merged in the core (csrc/bpe_train.cpp).

What is learned depends on the words and how often each occurs, never on the threads, the blocks that a file is read
in, or the order of the files (except where `max_words` drops some).
"""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from onward._core import Bpe, WordCounts, find_invalid_utf8, split_patterns
from onward.errors import TokenizerError
from onward.tokenizer.sources import BLOCK_BYTES, TextFiles, batches, cut_safely
from onward.tokenizer.threads import map_in_order, thread_count
from onward.tokenizer.vocabulary import MOST_TOKENS, Vocabulary, vocabulary_from_merges
from onward.tokenizer.word_level import WordLevelVocabulary

Merges = list[tuple[int, int, int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingStatus:
    """How far training has come, and what it has left out."""

    stage: Literal["counting words", "merging pairs"]
    done: int
    """Bytes of the files, as they are on disk, when counting; tokens when merging."""
    total: int | None
    """What `done` goes up to, where that is known."""
    n_bytes: int
    """The text that was read, in UTF-8."""
    cut_short: bool
    """Whether `max_bytes` left some of the text out."""
    n_words: int
    """Distinct words, when merging; while they are counted, 0."""
    dropped_words: int
    """Words dropped to keep to `max_words`; one that came again, and was dropped again, counts again."""
    dropped_bytes: int
    """How much of the text they stood for."""

    def left_out(self) -> list[str]:
        """A sentence for everything that was left out.

        >>> status = TrainingStatus(stage="merging pairs", done=300, total=300, n_bytes=2000, cut_short=False,
        ...                         n_words=50, dropped_words=60, dropped_bytes=100)
        >>> status.left_out()
        ['60 of the rarest words were dropped, which are 5.00 % of the text']
        """
        sentences = []
        if self.cut_short:
            sentences.append(f"only the first {self.n_bytes:,} bytes of the text were read")
        if self.dropped_words:
            share = 100 * self.dropped_bytes / self.n_bytes
            sentences.append(
                f"{self.dropped_words:,} of the rarest words were dropped, which are {share:.2f} % of the text"
            )
        return sentences


Watch = Callable[[TrainingStatus], object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What the methods of Tokenizer that train take; they say what each option means."""

    vocab_size: int
    min_frequency: int = 1
    max_token_length: int | None = None
    max_words: int | None = None
    max_bytes: int | None = None
    threads: int | None = None
    watch: Watch | None = None

    def __post_init__(self) -> None:
        for name in ("min_frequency", "max_token_length", "max_words", "max_bytes"):
            value, most = getattr(self, name), 1 << (64 if name == "max_bytes" else 32)
            if value is not None and not 1 <= value < most:
                raise TokenizerError(f"{name} is {value}, expected 1 to {most - 1}")


def learn_vocabulary(
    source: TextFiles | Iterable[str], special_tokens: Sequence[str], split_pattern: str, options: TrainingOptions
) -> Vocabulary:
    """A vocabulary of 256 bytes, what the text teaches, and the special tokens.

    Raises:
        TokenizerError: as `Tokenizer.train`.
    """
    if split_pattern not in split_patterns():
        raise TokenizerError(
            f"the split pattern {split_pattern!r} is unknown; there are: {', '.join(split_patterns())}"
        )
    check_special_tokens(special_tokens)
    _check_vocab_size(options, 256 + len(special_tokens), f"256 bytes, {len(special_tokens)} special")
    alphabet = vocabulary_from_merges([], [], split_pattern)
    learner = _Learner(source, split_pattern, options)
    merges = learner.learn(alphabet.to_core(), options.vocab_size - len(special_tokens), special_tokens)
    _check_filled(256 + len(merges) + len(special_tokens), options)
    return vocabulary_from_merges(merges, special_tokens, split_pattern)


def extend_vocabulary(
    base: Vocabulary | WordLevelVocabulary, source: TextFiles, options: TrainingOptions
) -> Vocabulary:
    """The vocabulary with what the text teaches behind its tokens and its merges.

    Raises:
        TokenizerError: as `Tokenizer.extend`.
    """
    if not isinstance(base, Vocabulary):
        raise TokenizerError("a tokenizer of whole words or characters has no merges to extend; train a new one")
    n_tokens = len(base.tokens)
    _check_vocab_size(options, n_tokens + 1, f"the {n_tokens:,} tokens there are, and one")
    merges = _Learner(source, base.split_pattern, options).learn(base.to_core(), options.vocab_size, [])
    _check_filled(n_tokens + len(merges), options)
    tokens = list(base.tokens)
    for left, right, _ in merges:
        tokens.append(tokens[left] + tokens[right])
    return dataclasses.replace(base, tokens=tokens, merges=base.merges + merges)


def add_special_tokens(
    base: Vocabulary | WordLevelVocabulary, names: Sequence[str]
) -> Vocabulary | WordLevelVocabulary:
    """The vocabulary with more special tokens behind all others.

    Raises:
        TokenizerError: one that is a token already, empty, or no text.
    """
    check_special_tokens(names)
    added = {name: len(base.tokens) + place for place, name in enumerate(names)}
    tokens = [*base.tokens, *(name.encode() for name in names)]
    return dataclasses.replace(base, tokens=tokens, special_tokens=base.special_tokens | added)


class _Learner:
    """Counts the words of a text once, then merges them, and says how far it has come."""

    def __init__(self, source: TextFiles | Iterable[str], split_pattern: str, options: TrainingOptions) -> None:
        self._source = source
        self._split_pattern = split_pattern
        self._options = options
        # Which words are the rarest depends on the order in which they come: with a limit, one thread counts.
        self._threads = thread_count(options.threads) if options.max_words is None else 1
        self._n_bytes = 0
        self._cut_short = False

    def learn(self, base: Bpe, token_limit: int, taken: Sequence[str]) -> Merges:
        """The merges that lead from the tokens of `base` to so many, or to as many as the text can fill."""
        counts = self._count()
        options = self._options

        def tell(n_tokens: int) -> None:
            self._tell("merging pairs", n_tokens, token_limit, counts)

        merges = counts.train(
            base,
            token_limit,
            options.min_frequency,
            options.max_token_length or 0xFFFFFFFF,
            [text.encode() for text in taken],
            tell if options.watch is not None else None,
        )
        tell(token_limit)
        return merges

    def _count(self) -> WordCounts:
        limit = {} if self._options.max_words is None else {"max_words": self._options.max_words}
        counters = [WordCounts(self._split_pattern, **limit) for _ in range(self._threads)]
        idle: queue.SimpleQueue[WordCounts] = queue.SimpleQueue()
        for counter in counters:
            idle.put(counter)

        def count(pieces: list[bytes]) -> None:
            counter = idle.get()
            try:
                counter.count(pieces)
            finally:
                idle.put(counter)

        for _ in map_in_order(count, batches(self._pieces(), len), self._threads):
            if isinstance(self._source, TextFiles):
                self._tell("counting words", self._source.done, self._source.total)
            else:
                self._tell("counting words", self._n_bytes, None)
        total, *others = counters
        for counter in others:
            total.add(counter)
        return total

    def _pieces(self) -> Iterator[bytes]:
        source = self._source
        texts = (text for _, text in source.texts()) if isinstance(source, TextFiles) else _encoded(source)
        for text in texts:
            yield from cut_safely(self._limited(text), self._split_pattern)
            if self._cut_short:
                return

    def _limited(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The blocks as far as `max_bytes` allows, to the last whole character."""
        for block in blocks:
            room = len(block) if self._options.max_bytes is None else self._options.max_bytes - self._n_bytes
            if room < len(block):
                self._cut_short = True
                block = block[:room]
                block = block[: find_invalid_utf8(block)]
            self._n_bytes += len(block)
            yield block
            if self._cut_short:
                return

    def _tell(
        self,
        stage: Literal["counting words", "merging pairs"],
        done: int,
        total: int | None,
        counts: WordCounts | None = None,
    ) -> None:
        if self._options.watch is None:
            return
        dropped_words, dropped_bytes = (0, 0) if counts is None else counts.dropped()
        self._options.watch(
            TrainingStatus(
                stage=stage,
                done=done,
                total=total,
                n_bytes=self._n_bytes,
                cut_short=self._cut_short,
                n_words=0 if counts is None else len(counts),
                dropped_words=dropped_words,
                dropped_bytes=dropped_bytes,
            )
        )


def _encoded(texts: Iterable[str]) -> Iterator[Iterator[bytes]]:
    for i, text in enumerate([texts] if isinstance(texts, str) else texts):
        yield _encoded_blocks(text, i)


def _encoded_blocks(text: str, i: int) -> Iterator[bytes]:
    for begin in range(0, len(text), BLOCK_BYTES):
        try:
            yield text[begin : begin + BLOCK_BYTES].encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(f"text {i}: {surrogate_message(text, begin + error.start)}") from error


def surrogate_message(text: str, position: int) -> str:
    """What to say of half a surrogate pair."""
    return (
        f"character {position:,} is {text[position]!a}, half of a surrogate pair and no character; "
        'text.encode(errors="replace").decode() replaces such halves'
    )


def check_special_tokens(special_tokens: Sequence[str]) -> None:
    """Refuse special tokens that are no texts, empty, or there twice.

    Raises:
        TokenizerError: with the one.
    """
    for i, token in enumerate(special_tokens):
        if not isinstance(token, str) or not token or token in special_tokens[:i]:
            raise TokenizerError(f"special token {i} is {token!r}; expected texts, none empty and none twice")
        try:
            token.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(f"special token {i}: {surrogate_message(token, error.start)}") from error


def _check_vocab_size(options: TrainingOptions, least: int, why: str) -> None:
    if not least <= options.vocab_size < MOST_TOKENS:
        raise TokenizerError(f"vocab_size is {options.vocab_size}, expected {least} ({why}) to {MOST_TOKENS - 1}")


def _check_filled(possible: int, options: TrainingOptions) -> None:
    if possible < options.vocab_size:
        raise TokenizerError(
            f"the text can fill {possible:,} tokens, not {options.vocab_size:,}: "
            f"pass vocab_size={possible} or less, or more text"
        )
