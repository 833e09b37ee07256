"""`onward.train`: from text to a trained model in a run folder, or on from where a run was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from onward.atomic import atomic_folder, remove_partial
from onward.data.shards import read_token_file
from onward.data.text import bundled_text
from onward.errors import ConfigError, RunError
from onward.plots import learning_curve
from onward.run import Run
from onward.training.checkpoint import best_checkpoint
from onward.training.config import RunConfig
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
from onward.training.progress import ProgressView
from onward.training.settings import batch_for, gather_settings, steps_for
from onward.training.tensorboard import TensorBoardView, summary_writer
from onward.training.trainer import Trainer


def train(*texts: str | Path, **options: Any) -> Run:
    """Train a tokenizer and a model on text files and folders, and return the run with everything that was made.

    Without texts, the text is the Shakespeare that comes with onward. Progress goes to the terminal. Ctrl-C saves
    what was learned so far; the same call with `resume=True` goes on from there.

    Args:
        *texts: UTF-8 files, and folders of .txt and .txt.gz files; each file is a document, or several where it
            separates them by `<|endoftext|>`. To go on from a model, also conversations in JSON Lines.
        **options: the fields of TrainOptions: out, base (the command's --from), lora, size, steps, tokens, minutes,
            patience, batch_tokens, tokenizer, vocab_size, seed, checkpoint_every, config, set, resume, overwrite.

    Raises:
        DataError: a text that is missing, empty, no text, or too short.
        ConfigError: a setting that is unknown, out of range, or contradicts another.
        RunError: the folder exists already, or another process trains in it.
        CheckpointError: the checkpoint to resume from is broken, or one cannot be saved.
        NonFiniteError: the loss is no longer finite.

    >>> run = train("book.txt", minutes=3, out="runs/book")  # doctest: +SKIP
    """
    paths = {name: Path(options[name]) for name in ("out", "config", "base") if options.get(name) is not None}
    return run_training([Path(text) for text in texts], TrainOptions(**options | paths))


def run_training(texts: Sequence[Path], options: TrainOptions) -> Run:
    """What `train` does, on options that are put together already."""
    console = Console()

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if options.resume and options.overwrite:
        raise ConfigError("--resume and --overwrite exclude each other: give one of them")
    if options.tensorboard:
        summary_writer()  # a missing package is told before anything long begins
    sources = texts or gather_settings(options).texts or [bundled_text()]
    run = Run(options.out or Path("runs") / _stem(sources[0]))
    if options.resume:
        _check_resumable(run, texts, options)
    else:
        _check_free(run, options.overwrite)
        remove_partial(run.folder.absolute().parent)
        try:
            with atomic_folder(run.folder) as temporary:
                prepare(Run(temporary), sources, options, say)
        except KeyboardInterrupt:
            say("stopped before the first step; nothing is kept")
            raise
    config = RunConfig.load(run.config_file)
    trainer = Trainer(run, config)
    n_steps = config.training.steps
    with TensorBoardView(run, n_steps, console) if options.tensorboard else ProgressView(n_steps, console) as view:
        trainer.run(view)
    _draw(run)
    say(summary(run, config))
    return run


def summary(run: Run, config: RunConfig) -> str:
    """What was made, where it is, and what to do with it next."""
    checkpoint, best = run.checkpoint_folders()[-1], best_checkpoint(run)
    lines = [f"\n{run.folder}: {config.training.steps:,} steps"]
    if last := run.last_evaluation():
        minutes, seconds = divmod(int(last.seconds), 60)
        lines[0] = f"\n{run.folder}: {last.step:,} steps on {last.tokens:,} tokens in {minutes}:{seconds:02d} min"
        lines.append(
            f"  validation: {last.validation_loss:.3f} nats per token, "
            f"{last.validation_bits_per_byte:.3f} bits per byte"
        )
        lines.append(f"  curve:      {run.loss_picture}")
    lines.append(f"  model:      {checkpoint}")
    if best not in (None, checkpoint):
        lines.append(f"  best model: {best}, by the validation text")
    lines.append(f"  samples:    {run.samples_file}")
    answers = read_token_file(run.validation_tokens).loss_mask is not None
    lines.append(f'\nnext: onward generate {run.folder} {"--chat" if answers else "--prompt"} "..."')
    return "\n".join(lines)


def _stem(text: Path) -> str:
    return text.resolve().name.split(".")[0] or "run"


def _check_resumable(run: Run, texts: Sequence[Path], options: TrainOptions) -> None:
    """Refuse to resume what is no run, or was begun with other settings."""
    if not run.exists():
        raise RunError(f"there is no run in {run.folder} to resume; leave out --resume to begin one")
    config = RunConfig.load(run.config_file)
    settings = gather_settings(options)
    given = {name: value for name in ("minutes", "size", "tokenizer") if (value := getattr(options, name)) is not None}
    asked = {**settings.model, **settings.training, **given}
    if settings.tokens is not None:
        asked["steps"] = steps_for(settings.tokens, config.training.batch_size, config.window_length)
    if settings.batch_tokens is not None and config.base is None:
        asked |= batch_for(settings.batch_tokens, config.model.context_length)
    if settings.base is not None and (
        config.base is None or settings.base.resolve() != Path(config.base.path).resolve()
    ):
        asked["base"] = settings.base
    made = {**vars(config.model), **vars(config.training), **vars(config)}
    if [text.resolve() for text in texts or map(Path, config.texts)] != [Path(text).resolve() for text in config.texts]:
        asked["texts"] = [str(text) for text in texts]
    for name, value in asked.items():
        if value != made[name]:
            raise ConfigError(
                f"{run.folder} was begun with {name} = {made[name]}, not {value}; "
                f"resume it without that, or give --overwrite to begin anew"
            )


def _check_free(run: Run, overwrite: bool) -> None:
    """Make sure that no run is replaced unasked, or while it trains, and that nothing but a run is ever replaced."""
    if not run.folder.exists():
        return
    if not run.exists():
        raise RunError(f"{run.folder} exists and is not a run; give another folder with --out")
    if not overwrite:
        raise RunError(
            f"{run.folder} exists already; go on with --resume, replace it with --overwrite, "
            f"or give another folder with --out"
        )
    with run.lock():
        pass


def _draw(run: Run) -> None:
    """Draw the learning curve."""
    metrics, last = run.metrics(), run.last_evaluation()
    if last is None:
        return
    evaluations = [(entry.step, entry.validation_loss) for entry in metrics if entry.validation_loss is not None]
    learning_curve(
        run.loss_picture,
        title=f"{run.folder.name}: {last.validation_bits_per_byte:.3f} bits per byte",
        training=([entry.step for entry in metrics], [entry.loss for entry in metrics]),
        validation=([step for step, _ in evaluations], [loss for _, loss in evaluations]),
    )
