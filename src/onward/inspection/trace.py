"""The way of a text through a model: pieces, ids, the shape at every place, what comes next at every position."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from torch import Tensor

from onward import plots
from onward.errors import NonFiniteError
from onward.inspection.lens import logit_lens
from onward.model.decoder import Decoder
from onward.model.hook import PLACES, Hooks, by_place
from onward.model.language_model import tokenizer_of
from onward.tokenizer.show import escaped

MOST_TOKENS = 1024
"""The most tokens of a text that are traced: each pattern holds the square of it."""
MOST_SHOWN = 40
"""The most positions that are shown one by one."""
MOST_POSITIONS = 1024
"""The most positions whose encoding is drawn."""
N_LIKELIEST = 3


class Candidate(NamedTuple):
    """A token that may come next."""

    piece: str
    probability: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says after one position."""

    position: int
    likeliest: list[Candidate]
    right: Candidate | None
    """What the text goes on with; None at its end."""
    rank: int
    """How many tokens, from 1, are at least as likely as the right one; 0 at the end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trace:
    """The way of a text through a model; of a long text, the positions that are shown one by one are its first ones."""

    ids: list[int]
    pieces: list[str]
    n_left_out: int
    """Tokens of the text that did not go through the model, for want of room in its context or here."""
    shapes: dict[str, tuple[int, ...]]
    """What passed where, by the name of the place, in the order in which it passed."""
    predictions: list[Prediction]
    """At the positions shown, and at the last."""
    loss: float | None
    """Mean loss of all predictions that have a right answer, in nats per token; None for a single token."""
    lens: list[list[Candidate]]
    """The likeliest token by the logit lens: for each depth, 0 before the first block, at the positions shown."""
    last_lens: list[list[Candidate]]
    """The likeliest few, for each depth, at the last position."""
    scores: Float[Tensor, "layer head q_pos k_pos"]
    """The scores at the positions shown; -inf where a key is hidden."""
    patterns: Float[Tensor, "layer head q_pos k_pos"]
    """The patterns at the positions shown."""


@torch.no_grad()
def trace(model: Decoder, text: str) -> Trace:
    """Send a text through the model and note what happens on the way.

    What looks like a special token in the text is one.

    Raises:
        DataError: there is no token to begin with.
        NonFiniteError: the logits are infinite or not numbers; it names the place where that begins.

    >>> from onward.model.config import preset
    >>> from onward.model.init import initialise
    >>> from onward.tokenizer import Tokenizer
    >>> model = Decoder(preset("tiny", vocab_size=260))
    >>> initialise(model, seed=1)
    >>> model.tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> way = trace(model, "to be")
    >>> way.pieces, way.shapes["blocks.0.attn.pattern"], round(way.loss, 3)  # every token is equally likely yet
    (['<|endoftext|>', 'to', ' be'], (1, 1, 3, 3), 5.561)
    """
    everything = model.to_tokens(text, allowed_special="all")
    tokens = everything[:, : min(model.context_length, MOST_TOKENS)]
    seen = _Seen(min(tokens.shape[1], MOST_SHOWN))
    logits = model(tokens, hooks=Hooks(edit={"*": seen.look}))[0].float()
    if not logits.isfinite().all():
        raise NonFiniteError(f"the logits are infinite or not numbers; it begins at {seen.first_broken}")
    ids = tokens[0].tolist()
    pieces = _pieces(model, ids)
    targets = tokens[0, 1:]
    shown = sorted({*range(seen.n_shown), len(ids) - 1})
    depths = torch.stack(seen.resid)
    return Trace(
        ids=ids,
        pieces=pieces,
        n_left_out=everything.shape[1] - len(ids),
        shapes=seen.shapes,
        predictions=[_prediction(model, ids, position, logits[position]) for position in shown],
        loss=float(F.cross_entropy(logits[:-1], targets)) if len(targets) else None,
        lens=[_likeliest_each(model, logit_lens(model, resid[:-1]).float()) for resid in depths],
        last_lens=[_likeliest(model, logit_lens(model, resid[-1]).float()) for resid in depths],
        scores=torch.stack(seen.scores).float().cpu(),
        patterns=torch.stack(seen.patterns).float().cpu(),
    )


class _Seen:
    """What one pass showed, kept as far as it is needed: whole patterns of a long text would fill the memory."""

    def __init__(self, n_shown: int) -> None:
        self.n_shown = n_shown
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.first_broken = "logits"
        self.resid: list[Tensor] = []
        self.scores: list[Tensor] = []
        self.patterns: list[Tensor] = []

    def look(self, activation: Tensor, name: str) -> Tensor:
        """An edit that changes nothing."""
        self.shapes[name] = tuple(activation.shape)
        hidden_aside = activation.masked_fill(activation.isneginf(), 0) if name.endswith(".scores") else activation
        if self.first_broken == "logits" and not hidden_aside.isfinite().all():
            self.first_broken = name
        n = self.n_shown
        if name.endswith(".scores"):
            self.scores.append(activation[0, :, :n, :n].clone())
        elif name.endswith(".pattern"):
            self.patterns.append(activation[0, :, :n, :n].clone())
        elif name == "blocks.0.resid_pre" or name.endswith(".resid_post"):
            self.resid.append(torch.cat([activation[0, :n], activation[0, -1:]]))
        return activation


def _pieces(model: Decoder, ids: Sequence[int]) -> list[str]:
    """The piece of each token; a model may have more ids than its tokenizer, to fill up a round number."""
    tokenizer = tokenizer_of(model)
    return [tokenizer.pieces([id_])[0] if id_ < tokenizer.vocab_size else f"<{id_}>" for id_ in ids]


def _likeliest(model: Decoder, logits: Float[Tensor, " vocab"]) -> list[Candidate]:
    found = logits.softmax(dim=-1).topk(min(N_LIKELIEST, logits.shape[-1]))
    pieces = _pieces(model, found.indices.tolist())
    return [Candidate(*candidate) for candidate in zip(pieces, found.values.tolist(), strict=True)]


def _likeliest_each(model: Decoder, logits: Float[Tensor, "pos vocab"]) -> list[Candidate]:
    found = logits.softmax(dim=-1).max(dim=-1)
    pieces = _pieces(model, found.indices.tolist())
    return [Candidate(*candidate) for candidate in zip(pieces, found.values.tolist(), strict=True)]


def _prediction(model: Decoder, ids: list[int], position: int, logits: Float[Tensor, " vocab"]) -> Prediction:
    likeliest = _likeliest(model, logits)
    if position + 1 == len(ids):
        return Prediction(position=position, likeliest=likeliest, right=None, rank=0)
    right = ids[position + 1]
    probability = float(logits.softmax(dim=-1)[right])
    return Prediction(
        position=position,
        likeliest=likeliest,
        right=Candidate(_pieces(model, [right])[0], probability),
        rank=int((logits >= logits[right]).sum()),
    )


# ---- as text ----


def report(way: Trace) -> str:
    """The trace, to read in a terminal."""
    return "\n\n".join([_tokens_part(way), _shapes_part(way), _predictions_part(way), _lens_part(way)])


def _tokens_part(way: Trace) -> str:
    n_tokens = len(way.ids)
    lines = [f"{n_tokens} tokens" if n_tokens != 1 else "1 token"]
    if way.n_left_out:
        lines[0] += f"; {way.n_left_out:,} more of the text are left out"
    lines.append("   pos       id  piece")
    lines += [
        f"{prediction.position:>6}  {way.ids[prediction.position]:>7}  {escaped(way.pieces[prediction.position])}"
        for prediction in way.predictions
    ]
    return "\n".join(_with_gap(lines, way))


def _shapes_part(way: Trace) -> str:
    rows = [
        (names, str(shape), " ".join(PLACES[place].axes), PLACES[place].meaning)
        for place, names, _, shape in by_place(way.shapes)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["what passes where"]
    lines += ["  " + "  ".join([*map(str.ljust, row[:3], widths), row[3]]) for row in rows]
    return "\n".join(lines)


def _predictions_part(way: Trace) -> str:
    lines = ["the next token, at every position: the likeliest, and how likely the right one was"]
    lines.append("   pos  after         likeliest" + " " * 54 + "right   rank")
    for prediction in way.predictions:
        first, *others = prediction.likeliest
        row = f"{prediction.position:>6}  {_cell(way.pieces[prediction.position], 12)}  {_bar(first.probability)} "
        row += "  ".join(f"{_percent(chance)} {_cell(piece, 12)}" for piece, chance in [first, *others])
        if prediction.right is not None:
            row += f"  {_percent(prediction.right.probability)}  {prediction.rank:>5,}"
            row += " *" if prediction.rank == 1 else ""
        lines.append(row.rstrip())
    lines = _with_gap(lines, way)
    if way.loss is not None:
        right = sum(prediction.rank == 1 for prediction in way.predictions)
        asked = sum(prediction.right is not None for prediction in way.predictions)
        lines.append(
            f"  * the likeliest was the right one, {right} of {asked} times above; loss {way.loss:.3f} nats per token"
        )
    return "\n".join(lines)


def _lens_part(way: Trace) -> str:
    lines = [
        f"the logit lens after {escaped(way.pieces[-1])}: what the model would say if it ended after so many blocks"
    ]
    for depth, candidates in enumerate(way.last_lens):
        row = "  ".join(f"{_percent(chance)} {_cell(piece, 12)}" for piece, chance in candidates)
        lines.append(f"{depth:>6}  {_bar(candidates[0].probability)} {row}".rstrip())
    return "\n".join(lines)


def _with_gap(lines: list[str], way: Trace) -> list[str]:
    """The lines of one position each, saying before the last where some are missing."""
    missing = len(way.ids) - len(way.predictions)
    return [*lines[:-1], f"   ...  {missing:,} more", lines[-1]] if missing else lines


def _cell(piece: str, width: int) -> str:
    text = escaped(piece)
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _percent(probability: float) -> str:
    percent = 100 * probability
    return f"{percent:4.0f}%" if percent >= 9.95 else f"{percent:4.1f}%" if percent >= 0.05 else "<0.1%"


def _bar(probability: float, width: int = 8) -> str:
    eighths = round(8 * width * probability)
    return ("█" * (eighths // 8) + ["", *"▏▎▍▌▋▊▉"][eighths % 8]).ljust(width)


# ---- as pictures ----


def draw(way: Trace, model: Decoder, folder: Path) -> list[Path]:
    """Draw the mask, the positions, the attention patterns and the logit lens into `folder`, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    n_shown = way.patterns.shape[-1]
    labels = way.pieces[:n_shown]
    some = f", first {n_shown} of {len(way.ids)} tokens" if n_shown < len(way.ids) else ""
    hidden = way.scores.isneginf()
    paths = [folder / f"{name}.png" for name in ("mask", "positions", "attention", "lens")]
    plots.mask(paths[0], (~hidden[0, 0]).numpy(), labels, title=f"Who may see whom{some}")
    columns = "pair of dimensions" if model.rotary is not None else "dimension"
    plots.tables(paths[1], _position_tables(model), rows="position", columns=columns)
    plots.attention(paths[2], _array(way.patterns.masked_fill(hidden, torch.nan)), labels, title=f"Attention{some}")
    plots.lens(paths[3], way.lens, labels, title=f"Logit lens: the likeliest next token after so many blocks{some}")
    return paths


def _position_tables(model: Decoder) -> dict[str, NDArray[np.float32]]:
    """What tells the model where a token stands, by a title: a row for each position of the context."""
    n_positions = min(model.context_length, MOST_POSITIONS)
    positions = torch.arange(n_positions, device=model.device).unsqueeze(0)
    if model.rotary is not None:
        rotation = model.rotary(positions)
        turns = {"cosine": rotation.cos, "sine": rotation.sin}
        return {f"rotary: {name} of each pair's angle": _array(turn[0, 0]) for name, turn in turns.items()}
    if model.position_embed is not None:
        return {f"{model.config.positions}: what is added to the embedding": _array(model.position_embed(positions)[0])}
    return {}


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()
