"""A run on one page: a single HTML file with everything in it, which opens without a network."""

from __future__ import annotations

import base64
import dataclasses
import html
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from onward import plots
from onward.atomic import atomic_file
from onward.data.shards import read_token_file
from onward.errors import CheckpointError, OnwardError
from onward.inspection.trace import draw, trace
from onward.model.decoder import Decoder
from onward.model.folder import read_model_folder
from onward.run import Metrics, Run
from onward.tokenizer import Tokenizer
from onward.tokenizer.show import escaped
from onward.training.checkpoint import best_checkpoint
from onward.training.overview import Overview, file_size, settings
from onward.training.progress import clock

_MOST_SAMPLES = 12
_MOST_CHARACTERS = 2000  # of a sample, or of the text that is looked at
_SAMPLE_TOKENS = 16  # of the validation text: few enough to read every pattern
_N_LONGEST = 16
# The figures that have a panel with words of their own; any other is drawn under its name.
_DRAWN = {"step", "tokens", "seconds", "loss", "validation_loss", "validation_bits_per_byte"}
_DRAWN |= {"gradient_norm", "learning_rate_share"}

# Nothing on the page may be fetched or run, even if something in it were not escaped.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
"""


def write_report(run: Run, path: Path, *, text: str | None = None) -> Path:
    """Write a run's curves, samples, tokenizer, attention and settings as one HTML page, and return where it is.

    Args:
        run: a run, which may be training at this moment.
        path: where the page goes.
        text: what the tokenizer and the attention are shown on; None: the beginning of the validation text.

    Raises:
        ConfigError: its run.toml is missing, broken, or of another version.
        RunError: its metrics are broken.
    """
    view, metrics = Overview.of(run), run.metrics()
    model, faults = _best_model(run)
    tokenizer, text, fault = _tokenizer_and_text(run, text)
    faults += [fault] if fault else []
    style = (files("onward") / "assets" / "report.css").read_text(encoding="utf-8")
    parts = [_HEAD.format(title=_text(run.folder.absolute().name), style=style), *_summary(view)]
    parts += [f'<p class="card">{_text(fault)}</p>' for fault in faults]
    parts += [*_curves(metrics), *_samples(run)]
    if tokenizer is not None:
        parts += _tokenizer(tokenizer, run, text)
    if model is not None and text:
        parts += _inside(model, text)
    parts += [*_settings(view), "</main>", "</body>", "</html>", ""]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8", errors="replace")
    return path


def _best_model(run: Run) -> tuple[tuple[Decoder, str] | None, list[str]]:
    """The model of the best checkpoint that can be read, with the name of its folder; and what is wrong with others."""
    best, newest_first = best_checkpoint(run), run.checkpoint_folders()[::-1]
    faults: list[str] = []
    for folder in dict.fromkeys([*([best] if best else []), *newest_first]):
        try:
            return (read_model_folder(folder, {"decoder": Decoder}, "cpu"), folder.name), faults
        except (OnwardError, OSError) as error:  # broken, or just replaced by a newer one
            faults.append(f"{folder.name} cannot be read: {error}")
    return None, faults or ["There is no checkpoint, and so no model to look into."]


def _tokenizer_and_text(run: Run, text: str | None) -> tuple[Tokenizer | None, str, str | None]:
    """The tokenizer, the text to show it on, and what is wrong with either."""
    tokenizer = None
    try:
        tokenizer = Tokenizer.load(run.tokenizer_file)
        if text is None:
            text = _beginning(tokenizer, run)
    except (OnwardError, OSError) as error:
        return tokenizer, text or "", str(error)
    return tokenizer, text[:_MOST_CHARACTERS], None


def _beginning(tokenizer: Tokenizer, run: Run) -> str:
    """A few words from the beginning of the validation text: from its second line, as the first may be cut."""
    specials = tokenizer.special_tokens.values()
    first = read_token_file(run.validation_tokens).tokens[: 8 * _SAMPLE_TOKENS].tolist()
    text = tokenizer.decode([id_ for id_ in first if id_ not in specials])
    text = text.partition("\n")[2].strip() or text
    return tokenizer.decode(tokenizer.encode(text, disallowed_special=())[:_SAMPLE_TOKENS])


# ---- the parts of the page ----


def _summary(view: Overview) -> Iterator[str]:
    last, best, training = view.last, view.best, view.config.training
    yield f"<h1>{_text(view.run.folder.absolute().name)}</h1>"
    texts = ", ".join(Path(name).name for name in view.config.texts)
    came = f"{view.state}, {last.step if last else 0:,} of {training.steps:,} steps on {texts}"
    yield f'<p class="faint">{_text(came)}</p>'
    shown: dict[str, str] = {}
    if best and best.validation_bits_per_byte is not None:
        shown["bits per byte"] = f"{best.validation_bits_per_byte:.3f}"
        shown["validation loss"] = f"{best.validation_loss:.3f} nats"
    if last is not None:
        shown |= {"last training loss": f"{last.loss:.3f} nats", "tokens seen": f"{last.tokens:,}"}
        shown["time in training"] = clock(last.seconds)
    if view.n_parameters is not None:
        shown["parameters"] = f"{view.n_parameters:,}"
    shown["on the disk"] = file_size(view.n_bytes)
    cells = "".join(f'<div class="card"><dt>{name}</dt><dd>{value}</dd></div>' for name, value in shown.items())
    yield f'<dl class="figures">{cells}</dl>'


def _curves(metrics: Sequence[Metrics]) -> Iterator[str]:
    yield "<h2>Curves</h2>"
    if not metrics:
        yield '<p class="card">No step is taken yet.</p>'
        return
    panels = list(_panels(metrics))

    def draw_all(folder: Path) -> None:
        for number, (_, panel) in enumerate(panels):
            plots.curves(folder / f"{number}.png", [panel], n_columns=1)

    pictures = _in_both_lights(draw_all)
    yield '<div class="curves">'
    for number, (caption, _) in enumerate(panels):
        yield _figure(caption, *pictures[f"{number}"])
    yield "</div>"


def _panels(metrics: Sequence[Metrics]) -> Iterator[tuple[str, plots.Panel]]:
    """What is drawn over the steps, each with what it is: those figures that the run has."""
    steps = [entry.step for entry in metrics]

    def panel(y: str, *lines: plots.Line) -> plots.Panel:
        return plots.Panel(x="step", y=y, lines=list(lines))

    def values(name: str) -> list[float]:
        found = [getattr(entry, name) for entry in metrics]
        return [math.nan if value is None else value for value in found]

    loss = plots.Line("loss", steps, plots.moving_mean(values("loss")), faint=True)
    validation = plots.Line("loss", steps, values("validation_loss"))
    yield "Loss on the validation text; thin: in training, moving mean", panel("nats per token", loss, validation)
    bits = plots.Line("bits", steps, values("validation_bits_per_byte"))
    yield "The same in bits per byte, which compare across tokenizers", panel("bits per byte", bits)
    speed = plots.Line("speed", steps[1:], _speeds(metrics))
    yield "Speed, evaluations and checkpoints included", panel("tokens a second", speed)
    norm = plots.Line("norm", steps, plots.moving_mean(values("gradient_norm")))
    yield "Norm of the gradient before it is clipped, moving mean", panel("gradient norm", norm)
    share = plots.Line("share", steps, values("learning_rate_share"))
    yield "The learning rates, as a share of their peaks", panel("share of the peak", share)
    for name in (field.name for field in dataclasses.fields(Metrics) if field.name not in _DRAWN):
        if any(map(math.isfinite, values(name))):
            words = name.replace("_", " ")
            yield f"{words.capitalize()}, moving mean", panel(words, _mean_line(name, steps, values(name)))


def _mean_line(name: str, steps: Sequence[int], values: Sequence[float]) -> plots.Line:
    """The moving mean of those steps that have the figure."""
    points = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    return plots.Line(name, [step for step, _ in points], plots.moving_mean([value for _, value in points]))


def _speeds(metrics: Sequence[Metrics]) -> list[float]:
    """Tokens a second at each step but the first, over the fiftieth of the run that ends there."""
    reach = max(len(metrics) // 50, 1)
    spans = [(metrics[max(at - reach, 0)], metrics[at]) for at in range(1, len(metrics))]
    return [
        (end.tokens - begin.tokens) / (end.seconds - begin.seconds) if end.seconds > begin.seconds else math.nan
        for begin, end in spans
    ]


def _samples(run: Run) -> Iterator[str]:
    samples = run.samples()
    if not samples:
        return
    yield "<h2>What it writes</h2>"
    last = len(samples) - 1
    shown = sorted({round(number * last / (_MOST_SAMPLES - 1)) for number in range(_MOST_SAMPLES)})
    if len(shown) < len(samples):
        yield f'<p class="faint">{len(shown)} of {len(samples):,} samples; all are in samples.txt</p>'
    for at in shown:
        step, text = samples[at]
        is_open = " open" if at in (shown[0], shown[len(shown) // 2], shown[-1]) else ""
        yield f"<details{is_open}><summary>after step {step:,}</summary><pre>{_text(_cut(text))}</pre></details>"


def _tokenizer(tokenizer: Tokenizer, run: Run, text: str) -> Iterator[str]:
    yield "<h2>Tokenizer</h2>"
    figures = [f"{tokenizer.vocab_size:,} tokens in the vocabulary"]
    for name, path in (("training", run.training_tokens), ("validation", run.validation_tokens)):
        try:
            part = read_token_file(path)
        except (OnwardError, OSError):  # not copied along
            continue
        figures.append(f"{part.n_bytes / max(len(part.tokens), 1):.2f} bytes a token in the {name} text")
    yield f"<p>{'; '.join(figures)}.</p>"
    specials = tokenizer.special_tokens.values()
    ids = [id_ for id_ in range(tokenizer.vocab_size) if id_ not in specials and id_ != tokenizer.unknown_token]
    longest = sorted(ids, key=lambda id_: -len(tokenizer.token_bytes(id_)))[:_N_LONGEST]
    pieces = " ".join(f"<span>{_text(_cut(escaped(piece)))}</span>" for piece in tokenizer.pieces(longest))
    yield f'<h3>The longest tokens</h3><p class="card tokens apart">{pieces}</p>'
    if text:
        ids = tokenizer.encode(text, disallowed_special=())
        spans = "".join(
            f'<span title="{id_}">{_text(piece)}</span>' for id_, piece in zip(ids, tokenizer.pieces(ids), strict=True)
        )
        count = f"{len(ids)} tokens for {len(text.encode(errors='replace'))} bytes"
        yield f'<h3>How a text is cut</h3><p class="faint">{count}</p><p class="card tokens">{spans}</p>'


def _inside(model: tuple[Decoder, str], text: str) -> Iterator[str]:
    decoder, name = model
    yield "<h2>Inside</h2>"
    try:
        if decoder.tokenizer is None:
            raise CheckpointError(f"{name} has no tokenizer")
        way = trace(decoder, text)
    except OnwardError as error:
        yield f'<p class="card">{_text(str(error))}</p>'
        return
    yield f'<p class="faint">The model of {_text(name)}, reading the same text.</p>'
    pictures = _in_both_lights(lambda folder: draw(way, decoder, folder))
    yield _figure(
        "Attention: how much each token (a row) looks at those before it, in every layer and head",
        *pictures["attention"],
        kind="wide",
    )
    yield _figure(
        "The logit lens: what the model would say next, if it ended after so many blocks",
        *pictures["lens"],
        kind="wide",
    )


def _settings(view: Overview) -> Iterator[str]:
    yield "<h2>Settings</h2>"
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{_text(str(value))}</td></tr>"
        for name, value in settings(view.config).items()
        if value is not None
    )
    yield f"<details><summary>everything in run.toml</summary><table>{rows}</table></details>"


# ---- small things ----


def _text(text: str) -> str:
    """The text for HTML: no mark-up, and nothing that a page cannot hold or that turns the text around."""
    return html.escape("".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"


def _in_both_lights(draw_into: Callable[[Path], object]) -> dict[str, tuple[bytes, bytes]]:
    """What `draw_into` draws into a folder, for a light and for a dark page, by the name of the file."""
    with tempfile.TemporaryDirectory() as folder:
        light, dark = Path(folder, "light"), Path(folder, "dark")
        draw_into(light)
        with plots.dark():
            draw_into(dark)
        return {path.stem: (path.read_bytes(), (dark / path.name).read_bytes()) for path in light.iterdir()}


def _figure(caption: str, light: bytes, dark: bytes, kind: str = "") -> str:
    """Two PNGs as one figure: the page shows the one that fits the reader's setting."""
    sources = [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in (light, dark)]
    width = int.from_bytes(light[16:20])  # of the PNG's header
    return (
        f'<figure class="{kind}"><picture><source media="(prefers-color-scheme: dark)" srcset="{sources[1]}">'
        f'<img src="{sources[0]}" width="{width}" alt="{_text(caption)}"></picture>'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )
