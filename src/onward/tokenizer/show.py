"""Tokenizers to look at: a text in its tokens, words merge by merge, several tokenizers side by side."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from onward.tokenizer.measure import Measure
from onward.tokenizer.tokenizer import Tokenizer
from onward.tokenizer.word_level import SpecialWords

_STYLES = ("black on bright_cyan", "black on bright_yellow")
_SPECIAL_STYLE = "white on magenta"
_BAR = "│"


def escaped(piece: str) -> str:
    r"""The piece in quotes, on one line; a byte that is no whole character stays as it is written, \xc3 say."""
    return repr(piece).replace(r"\\x", r"\x")


def show(tokenizer: Tokenizer, text: str, console: Console) -> None:
    """Print a text in its tokens, coloured in turn, then each token, and how each word came to its tokens.

    The text of a special token counts as that token. Without colours, bars part the tokens.
    """
    ids = tokenizer.encode(text, allowed_special="all")
    pieces = tokenizer.pieces(ids)
    console.print(_coloured(tokenizer, ids, console.color_system is None), soft_wrap=True)
    console.print("\n     id  bytes  token", highlight=False)
    for id_, piece in zip(ids, pieces, strict=True):
        n_bytes = "?" if id_ == tokenizer.unknown_token else len(tokenizer.token_bytes(id_))
        line = f"{id_:>7}  {n_bytes:>5}  {escaped(piece)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    total = len(text.encode())
    console.print(f"{len(ids)} tokens for {total} bytes, {total / max(len(ids), 1):.2f} bytes a token", highlight=False)
    if tokenizer.unknown_token is None:
        _show_merges(tokenizer, text, console)


def _coloured(tokenizer: Tokenizer, ids: list[int], plain: bool) -> Text:
    shown = Text()
    for at, (id_, piece) in enumerate(zip(ids, tokenizer.pieces(ids), strict=True)):
        if plain and at:
            shown.append(_BAR)
        special = id_ in tokenizer.special_tokens.values()
        shown.append(_visible(piece), style=_SPECIAL_STYLE if special else _STYLES[at % 2])
    return shown


def _visible(piece: str) -> str:
    """The piece with its control characters written out; a line end ends the line, too."""
    return "".join(c if c.isprintable() else escaped(c)[1:-1] + "\n" * (c == "\n") for c in piece)


def _show_merges(tokenizer: Tokenizer, text: str, console: Console) -> None:
    parts = [part for part, _ in SpecialWords(tokenizer.special_tokens).cut(text)]
    words = dict.fromkeys(word for part in parts for word in tokenizer.words(part))
    for word in words:
        steps = tokenizer.merge_steps(word)
        if len(steps) == 1:
            continue
        console.print(f"\n{escaped(word)}, merge by merge (the lowest rank first)", markup=False, highlight=False)
        for rank, ids in steps:
            pieces = " ".join(escaped(piece) for piece in tokenizer.pieces(ids))
            label = "bytes" if rank is None else f"{rank:,}"
            console.print(f"{label:>9}  {pieces}", markup=False, highlight=False, soft_wrap=True)


def comparison(measures: Mapping[str, tuple[Tokenizer, Measure]]) -> str:
    """A table of what several tokenizers make of the same text, a line each, its name last."""
    lines = ["vocabulary       tokens  bytes/token  tokens/word  single bytes  unknown  tokenizer"]
    for name, (tokenizer, measure) in measures.items():
        n_tokens = max(measure.n_tokens, 1)
        lines.append(
            f"{tokenizer.vocab_size:>10,}  {measure.n_tokens:>11,}  {measure.bytes_per_token:>11.2f}  "
            f"{measure.tokens_per_word:>11.2f}  {measure.n_single_bytes / n_tokens:>12.1%}  "
            f"{measure.n_unknown / n_tokens:>7.1%}  {name}"
        )
    return "\n".join(lines)
