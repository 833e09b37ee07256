"""Run: the folder of one run, with its lock, its metrics and its checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from onward.atomic import atomic_file, naming, remove_partial
from onward.errors import CheckpointError, RunError

_SAMPLE_HEAD = r"^--- step (\d{1,15})$"
_LONGEST_LINE = 1 << 16  # of metrics; they have some hundred characters
_LOOK_SECONDS = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metrics:
    """What is known after one step."""

    step: int
    """Steps taken so far."""
    tokens: int
    """Target tokens trained on so far."""
    seconds: float
    """Time in training so far, over all sessions."""
    loss: float
    """Mean loss of this step's batch, in nats per token."""
    learning_rate_share: float
    """The learning rates of this step, as a share of their peaks."""
    gradient_norm: float
    """Norm of all gradients together, before clipping."""
    tokens_per_second: float | None = None
    """Target tokens of this step, by the time that it took."""
    flops_per_second: float | None = None
    """Floating-point operations of this step's matrix products, as training/speed.py counts them, by its time."""
    peak_share: float | None = None
    """The same as a share of `training.peak_flops`, what the machine was measured to do in large products."""
    validation_loss: float | None = None
    """Mean loss on the validation text, in nats per token; only at evaluations."""
    validation_bits_per_byte: float | None = None
    """The same in bits per byte of text, which compares across tokenizers."""


_KINDS: dict[str, type] = {field.name: int if field.type == "int" else float for field in dataclasses.fields(Metrics)}


class Run:
    """A folder that holds everything of one run; it can be copied to another machine, and it works there.

    | file                      | what it is                                              |
    |---------------------------|---------------------------------------------------------|
    | run.toml                  | every setting, as chosen before the first step          |
    | tokenizer.json            | the tokenizer, trained on the training text             |
    | data/                     | the tokens of the training and the validation text      |
    | base/                     | the model that the run goes on from, if from any        |
    | checkpoints/step-000100/  | a model folder, and the state of the training           |
    | metrics.jsonl             | one line a step                                         |
    | samples.txt               | what the model wrote on its way                         |
    | loss.png                  | the learning curve                                      |
    | tensorboard/              | the metrics for TensorBoard, where that was asked for   |
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._lock_file = self.folder / ".lock"
        self.config_file = self.folder / "run.toml"
        self.tokenizer_file = self.folder / "tokenizer.json"
        self.training_tokens = self.folder / "data" / "training.tokens"
        self.validation_tokens = self.folder / "data" / "validation.tokens"
        self.base = self.folder / "base"
        self.checkpoints = self.folder / "checkpoints"
        self.metrics_file = self.folder / "metrics.jsonl"
        self.samples_file = self.folder / "samples.txt"
        self.loss_picture = self.folder / "loss.png"
        self.tensorboard = self.folder / "tensorboard"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self.config_file.is_file()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder; the operating system frees it, however we end.

        Raises:
            RunError: another process is training here.
        """
        with self._lock_file.open("w") as file:
            if not _locked(file, fcntl.LOCK_EX):
                time.sleep(_LOOK_SECONDS)  # whoever only looks whether somebody trains here is gone by then
                if not _locked(file, fcntl.LOCK_EX):
                    raise RunError(f"another process trains in {self.folder}; wait for it, or give another --out")
            yield

    def is_training(self) -> bool:
        """Whether a process trains in this folder now."""
        try:
            with self._lock_file.open() as file:
                return not _locked(file, fcntl.LOCK_SH)
        except OSError:  # nobody ever trained here, or nobody may here
            return False

    def clean(self) -> None:
        """Remove what a killed process left half-written."""
        remove_partial(self.folder)
        remove_partial(self.checkpoints)

    def record(self, metrics: Metrics) -> None:
        """Append one line to metrics.jsonl."""
        values = {name: value for name, value in dataclasses.asdict(metrics).items() if value is not None}
        with naming(self.metrics_file), self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def metrics(self) -> list[Metrics]:
        """The metrics of every step so far; a last line that a kill cut short is left out.

        Raises:
            RunError: a line that is none of metrics. Fields that a later onward added are left out.
        """
        return [self._parsed(number, line) for number, line in self._metrics_lines()]

    def milestones(self) -> list[Metrics]:
        """The metrics of every step at which the run was evaluated, and of the last step; the others are not parsed."""
        found, last = [], None
        for number, line in self._metrics_lines():
            if b'"validation_loss"' in line:
                found.append(self._parsed(number, line))
                last = None
            else:
                last = number, line
        return found if last is None else [*found, self._parsed(*last)]

    def forget_after(self, step: int) -> None:
        """Drop the metrics and samples of steps after `step`, which are about to be taken again."""
        kept = b"".join(line for number, line in self._metrics_lines() if self._parsed(number, line).step <= step)
        with atomic_file(self.metrics_file) as temporary:
            temporary.write_bytes(kept)
        if self.samples_file.exists():
            samples = self.samples_file.read_text(encoding="utf-8")
            later = [at for at in re.finditer(_SAMPLE_HEAD, samples, re.MULTILINE) if int(at[1]) > step]
            with atomic_file(self.samples_file) as temporary:
                temporary.write_text(samples[: later[0].start()] if later else samples, encoding="utf-8")

    def checkpoint_folder(self, step: int) -> Path:
        """Where the checkpoint of `step` goes."""
        return self.checkpoints / f"step-{step:06d}"

    def checkpoint_folders(self) -> list[Path]:
        """The checkpoints that there are, oldest first."""
        found = [folder for folder in self.checkpoints.glob("step-*") if re.fullmatch(r"step-\d{6,}", folder.name)]
        return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))

    def add_sample(self, step: int, text: str) -> None:
        """Append what the model wrote at `step` to samples.txt."""
        with naming(self.samples_file), self.samples_file.open("a", encoding="utf-8") as file:
            file.write(f"--- step {step}\n{text}\n\n")

    def samples(self) -> list[tuple[int, str]]:
        """The steps after which samples were written, and the samples; bytes that are no text are shown as such."""
        if not self.samples_file.exists():
            return []
        _, *parts = re.split(_SAMPLE_HEAD, self.samples_file.read_text("utf-8", errors="replace"), flags=re.MULTILINE)
        return [(int(step), text[1:].removesuffix("\n\n")) for step, text in zip(parts[::2], parts[1::2], strict=True)]

    def last_evaluation(self) -> Metrics | None:
        """The metrics of the last step at which the run was evaluated."""
        evaluated = [entry for entry in self.milestones() if entry.validation_loss is not None]
        return evaluated[-1] if evaluated else None

    def _metrics_lines(self) -> Iterator[tuple[int, bytes]]:
        """The whole lines of metrics.jsonl, from 1: what is being written at this moment has no line end yet."""
        if not self.metrics_file.exists():
            return
        with self.metrics_file.open("rb") as file:
            for number in itertools.count(1):
                line = file.readline(_LONGEST_LINE)
                if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                    return
                yield number, line

    def _parsed(self, number: int, line: bytes) -> Metrics:
        try:
            return _parsed(line)
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise RunError(f"{self.metrics_file}, line {number}: not a line of metrics; delete the line") from None


def _locked(file: TextIO, kind: int) -> bool:
    """Lock the file if that can be done at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parsed(line: bytes) -> Metrics:
    """The metrics of a line; ValueError, TypeError or OverflowError where it has none."""
    values = json.loads(line)
    kinds = {name: kind for name, kind in _KINDS.items() if name in values}
    if any(type(values[name]) not in (int, kind) for name, kind in kinds.items()):
        raise TypeError
    known = {name: kind(values[name]) for name, kind in kinds.items()}
    if not all(0 <= known.get(name, 0) < 1 << 53 for name in ("step", "tokens", "seconds")):
        raise ValueError
    return Metrics(**known)


def model_folder(path: Path) -> Path:
    """Where the model at `path` lies: of a run, in its newest checkpoint; of anything else, there.

    Raises:
        CheckpointError: there is neither a run nor a model, or no checkpoint yet.
    """
    if path.is_file() or path.suffix == ".gguf" or (path / "config.json").is_file():
        return path
    run = Run(path)
    if not run.exists():
        raise CheckpointError(f"there is no run and no model in {path}; train one with: onward train TEXT --out {path}")
    folders = run.checkpoint_folders()
    if not folders:
        raise CheckpointError(f"{path} has no checkpoint yet; go on with: onward train --out {path} --resume")
    return folders[-1]
