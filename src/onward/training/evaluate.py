"""How well a model predicts a text: loss, bits per byte, perplexity, accuracy, calibration, loss by position."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onward.data.batches import Batch, conversation_batch, window_batch
from onward.data.conversations import are_conversations, encode_conversations, read_conversations
from onward.data.shards import TokenFile
from onward.data.text import read_documents
from onward.errors import ConfigError, DataError
from onward.model.decoder import Decoder
from onward.model.language_model import LanguageModel, tokenizer_of
from onward.tokenizer import Tokenizer
from onward.training.loss import LOGITS_AT_ONCE

_WINDOW_TOKENS_AT_ONCE = 1 << 13
_TOKENS_AT_ONCE = 1 << 22
_NONE = np.array([], np.uint32)
N_BINS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a model predicts a text."""

    n_tokens: int
    """Tokens predicted."""
    n_bytes: int
    """Bytes of text that they stand for."""
    nats: float
    """Minus the log-probability of all of them."""
    n_unknown: int = 0
    """How many of the tokens stand for characters or words that the tokenizer does not know."""
    unknown_bytes: float = 0
    """Bytes of text that those stand for."""
    n_right: int = 0
    """How many of the tokens were the likeliest one."""
    by_position: tuple[tuple[int, float], ...] = ()
    """For each position in a window, how many tokens were predicted from it, and the nats of all of them."""
    by_confidence: tuple[tuple[int, float, int], ...] = ()
    """For each tenth of the likeliest token's probability, how many tokens had it there, the sum of these
    probabilities, and how often that token came."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.n_tokens

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of text, which compares models with different tokenizers.

        That a word is unknown does not yet say which it is: it counts as spelled out after that, at 8 bits for each of
        its bytes and 8 for its end.
        """
        return (self.nats / math.log(2) + 8 * (self.unknown_bytes + self.n_unknown)) / self.n_bytes

    @property
    def perplexity(self) -> float:
        """The number of equally likely tokens that would be as hard to predict."""
        return math.exp(self.loss)

    @property
    def accuracy(self) -> float:
        """How often the likeliest token was the one that came, as a share."""
        return self.n_right / self.n_tokens

    @property
    def calibration_error(self) -> float:
        """By how much the likeliest token's probability misses how often it comes, on average over the tokens.

        Source: Guo et al., On Calibration of Modern Neural Networks, 2017, section 2: the expected calibration error.
        """
        return sum(abs(confidence - n_right) for _, confidence, n_right in self.by_confidence) / self.n_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scores:
    """What is known of each predicted token, all of shape (token,)."""

    nats: NDArray[np.float64]
    confidence: NDArray[np.float64]
    is_right: NDArray[np.bool_]


class _Tally:
    """The sums that an Evaluation is made of, as the tokens come in."""

    def __init__(self, context_length: int) -> None:
        self.position_tokens = np.zeros(context_length, np.int64)
        self.position_nats = np.zeros(context_length)
        self.bin_tokens = np.zeros(N_BINS, np.int64)
        self.bin_confidence = np.zeros(N_BINS)
        self.bin_right = np.zeros(N_BINS, np.int64)

    def add(self, scores: _Scores, positions: NDArray[np.int64]) -> None:
        self.position_tokens += np.bincount(positions, minlength=len(self.position_tokens))
        self.position_nats += np.bincount(positions, scores.nats, len(self.position_nats))
        bins = np.minimum((scores.confidence * N_BINS).astype(np.int64), N_BINS - 1)
        self.bin_tokens += np.bincount(bins, minlength=N_BINS)
        self.bin_confidence += np.bincount(bins, scores.confidence, N_BINS)
        self.bin_right += np.bincount(bins[scores.is_right], minlength=N_BINS)


@torch.inference_mode()
def evaluate(
    model: LanguageModel,
    text: TokenFile,
    *,
    most_tokens: int | None = None,
    stride: int | None = None,
    length: int | None = None,
    first_is_given: bool = True,
) -> Evaluation:
    """Predict every token of `text` once; of conversations, those of the replies.

    Args:
        model: any language model, with the tokenizer that the text was encoded with, which says how many bytes each
            token stands for.
        text: what is predicted, but for its first token, an end token.
        most_tokens: of a longer text, only so many tokens are predicted, in windows at even distances.
        stride: where windows overlap: how many tokens each begins after the one before. A token is predicted in the
            first window that reaches it, so that all but the first window's have at least context - stride tokens
            before them. None: windows side by side.
        length: tokens of a window; None: the model's context.
        first_is_given: if not, the first token is scored too, as if all tokens were equally likely there: a model says
            nothing before it has seen one.

    Raises:
        DataError: there is nothing to predict.
        ConfigError: a stride that skips tokens, or is none.
    """
    n_targets, length = len(text.tokens) - 1, length or model.context_length
    if n_targets < first_is_given:
        raise DataError("the text has no token to predict; give more text")
    if stride is not None and not 0 < stride <= length:
        raise ConfigError(f"the stride must be at least 1 and at most the context's {length} tokens; got {stride}")
    if text.loss_mask is not None:
        if stride is not None:
            raise ConfigError("conversations are seen whole, one by one: leave out the stride")
        return _tallied(model, text, _rows(text, length, most_tokens), length)
    starts: Sequence[int] = range(0, n_targets, length)
    if most_tokens is not None and n_targets > most_tokens:
        at_even_distances = np.linspace(0, n_targets // length - 1, max(most_tokens // length, 1)).astype(int)
        starts = [starts[index] for index in at_even_distances]
    elif stride is not None:
        starts = [*range(0, n_targets - length, stride), max(n_targets - length, 0)]
    batches = _windows(text, starts, length, at_once=max(_WINDOW_TOKENS_AT_ONCE // length, 1))
    return _tallied(model, text, batches, length, guessed=text.tokens[: 0 if first_is_given else 1])


def _tallied(
    model: LanguageModel, text: TokenFile, batches: Iterator[Batch], length: int, guessed: NDArray[Any] = _NONE
) -> Evaluation:
    """Predict the counted targets of the batches, each of at most `length` positions; `guessed` tokens by no model."""
    tokenizer = tokenizer_of(model)
    byte_lengths = _byte_lengths(tokenizer, text)
    tally = _Tally(length)
    n_unknown, n_bytes = int((guessed == tokenizer.unknown_token).sum()), float(byte_lengths[guessed].sum())
    for batch in batches:
        counted = batch.loss_mask
        tally.add(_scores(model, batch), np.nonzero(counted)[1])
        n_bytes += float(byte_lengths[batch.targets[counted]].sum())
        n_unknown += int((batch.targets[counted] == tokenizer.unknown_token).sum())
    unknown_bytes = n_unknown * byte_lengths[tokenizer.unknown_token] if n_unknown else 0.0
    return Evaluation(
        n_tokens=int(tally.position_tokens.sum()) + len(guessed),
        n_bytes=max(round(n_bytes), 1),
        nats=float(tally.position_nats.sum()) + len(guessed) * math.log(tokenizer.vocab_size),
        n_unknown=n_unknown,
        unknown_bytes=float(unknown_bytes),
        n_right=int(tally.bin_right.sum()),
        by_position=tuple(zip(tally.position_tokens.tolist(), tally.position_nats.tolist(), strict=True)),
        by_confidence=tuple(
            zip(tally.bin_tokens.tolist(), tally.bin_confidence.tolist(), tally.bin_right.tolist(), strict=True)
        ),
    )


def _scores(model: LanguageModel, batch: Batch) -> _Scores:
    """Score the counted targets of a batch, with few logits at once where the model lets them be made in parts."""
    tokens, targets, mask = to_tensors(batch, getattr(model, "device", "cpu"))
    size = max(LOGITS_AT_ONCE // model.vocab_size, 1)
    rows, unembed = (model.resid(tokens), model.unembed) if isinstance(model, Decoder) else (model(tokens), None)
    nats, confidence, is_right = [], [], []
    for chunk, wanted in zip(torch.split(rows[mask], size), torch.split(targets[mask], size), strict=True):
        log_probabilities = (chunk if unembed is None else unembed(chunk)).float().log_softmax(-1)
        nats.append(-log_probabilities.gather(-1, wanted.unsqueeze(-1)).squeeze(-1))
        likeliest, token = log_probabilities.max(-1)
        confidence.append(likeliest.exp())
        is_right.append(token == wanted)
    return _Scores(
        nats=torch.cat(nats).double().cpu().numpy(),
        confidence=torch.cat(confidence).double().cpu().numpy(),
        is_right=torch.cat(is_right).cpu().numpy(),
    )


def evaluate_texts(model: LanguageModel, paths: Sequence[Path], *, stride: int | None = None) -> Evaluation:
    """Predict every token of text files and folders once; documents are led by the token that they begin with.

    If the tokenizer has no such token, documents follow each other with nothing between them, and the first token of
    all is scored as if each were equally likely. Of conversations, the replies are predicted, as far as they fit into
    the model's context. `stride` is that of `evaluate`.

    Raises:
        ConfigError: the model has no tokenizer.
        DataError: a text that is missing, empty, or no text.
    """
    tokenizer = tokenizer_of(model)
    if are_conversations(paths):
        encoded_chats = encode_conversations(tokenizer, read_conversations(paths), model.context_length + 1)
        return evaluate(model, encoded_chats.as_token_file(tokenizer), stride=stride)
    documents = read_documents(paths)
    lead = np.array([] if tokenizer.begin_token is None else [tokenizer.begin_token], np.uint32)
    encoded = [
        np.concatenate([lead, tokenizer.encode_array(document, disallowed_special=())]) for document in documents
    ]
    text = TokenFile(
        tokens=np.concatenate(encoded),
        document_starts=np.cumsum([0, *map(len, encoded[:-1])]).astype(np.uint64),
        loss_mask=None,
        vocab_size=tokenizer.vocab_size,
        n_bytes=sum(len(document.encode()) for document in documents),
    )
    return evaluate(model, text, stride=stride, first_is_given=len(lead) > 0)


def describe(result: Evaluation) -> str:
    """An evaluation as a person reads it.

    >>> print(describe(Evaluation(n_tokens=4, n_bytes=8, nats=4 * math.log(16), n_right=1)).split("loss by")[0])
    tokens         4
    bytes          8
    loss           2.7726 nats per token
    bits per byte  2.0000
    perplexity     16.00
    accuracy       25.0 % of the next tokens are the likeliest
    """
    lines = [
        f"tokens         {result.n_tokens:,}",
        f"bytes          {result.n_bytes:,}",
        f"loss           {result.loss:.4f} nats per token",
        f"bits per byte  {result.bits_per_byte:.4f}",
        f"perplexity     {result.perplexity:.2f}",
        f"accuracy       {100 * result.accuracy:.1f} % of the next tokens are the likeliest",
    ]
    if result.n_unknown:
        share = 100 * result.n_unknown / result.n_tokens
        lines.append(
            f"unknown        {result.n_unknown:,} tokens ({share:.2f} %), which count as spelled out, 8 bits a byte"
        )
    if result.by_confidence:
        lines.append(f"calibration    off by {100 * result.calibration_error:.1f} % on average; the likeliest token's")
        lines.append("               probability, and how often it came:")
        for n_tokens, confidence, n_right in result.by_confidence:
            if n_tokens:
                said, came = (f"{100 * part / n_tokens:5.1f} %" for part in (confidence, n_right))
                lines.append(f"                 {said}   {came}   of {n_tokens:,} tokens")
    if result.by_position:
        lines.append("loss by the number of tokens that the model sees:")
        first, n_positions = 1, len(result.by_position)
        while first <= n_positions:
            last = min(2 * first - 1, n_positions)
            there = result.by_position[first - 1 : last]
            if n_tokens := sum(n for n, _ in there):
                span = f"{first}" if first == last else f"{first}-{last}"
                lines.append(f"  {span:>11}  {sum(nats for _, nats in there) / n_tokens:.4f}")
            first = last + 1
    return "\n".join(lines)


def _byte_lengths(tokenizer: Tokenizer, text: TokenFile) -> NDArray[np.float64]:
    """How many bytes of text each token stands for; for the unknown one, the mean over the text, whose length is known.

    Shape (vocab,).
    """
    lengths = np.array([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)], dtype=np.float64)
    lengths[list(tokenizer.special_tokens.values())] = 0
    if (unknown := tokenizer.unknown_token) is not None:
        counts = np.zeros(tokenizer.vocab_size)
        for begin in range(0, len(text.tokens), _TOKENS_AT_ONCE):
            counts += np.bincount(text.tokens[begin : begin + _TOKENS_AT_ONCE], minlength=tokenizer.vocab_size)
        lengths[unknown] = (text.n_bytes - counts @ lengths) / max(counts[unknown], 1)
    return lengths


def _windows(text: TokenFile, starts: Sequence[int], length: int, at_once: int) -> Iterator[Batch]:
    """The windows at `starts`, `at_once` of them a batch, and last the one that the text's end cuts short, if there.

    The loss mask leaves out what an earlier window has predicted.
    """
    n_targets, scored = len(text.tokens) - 1, 0
    whole = [start for start in starts if start + length <= n_targets]
    parts = [whole[first : first + at_once] for first in range(0, len(whole), at_once)]
    parts += [[start] for start in starts[len(whole) :]]
    for part in parts:
        batch = window_batch(text, part, min(length, n_targets - part[0]))
        for mask, start in zip(batch.loss_mask, part, strict=True):
            mask[: max(scored - start, 0)] = False
            scored = start + len(mask)
        yield batch


def _rows(text: TokenFile, length: int, most_tokens: int | None) -> Iterator[Batch]:
    """Conversations, a few at once; of more tokens than are wanted, conversations at even distances."""
    n_documents = len(text.document_starts)
    n_wanted = n_documents
    if most_tokens is not None and most_tokens < len(text.tokens):
        n_wanted = max(n_documents * most_tokens // len(text.tokens), 1)
    chosen = np.linspace(0, n_documents - 1, n_wanted).astype(int).tolist()
    at_once = max(_WINDOW_TOKENS_AT_ONCE // length, 1)
    for first in range(0, n_wanted, at_once):
        yield conversation_batch(text, chosen[first : first + at_once], length)


def to_tensors(batch: Batch, device: torch.device | str) -> tuple[Any, Any, Any]:
    """Tokens, targets and loss mask of a batch as tensors (batch, pos) on `device`."""
    return tuple(torch.from_numpy(array).to(device) for array in (batch.tokens, batch.targets, batch.loss_mask))  # type: ignore[return-value]
