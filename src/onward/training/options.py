"""What a person may ask of a training run; all of it is optional."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `onward train` and `onward.train` take beside the text."""

    out: Path | None = None
    """Folder of the run. [default: runs/ and the name of the first text]"""
    base: Annotated[Path | None, Parameter(name="--from")] = None
    """Go on from the model of a run (its newest checkpoint), of a model folder, of a folder of Hugging Face, or of a
    GGUF file, with its tokenizer, on text or on conversations."""
    lora: int | None = None
    """With --from: learn low-rank adapters of this rank, and leave all weights as they are. [default: learn all]"""
    size: str | None = None
    """Size of the model by its name, as `onward models` lists them. [default: small; with --minutes, what is worth the
    time and the text]"""
    steps: int | None = None
    """Update the weights so many times."""
    tokens: int | None = None
    """Train on so many tokens, in whole steps."""
    minutes: float | None = None
    """Train for at most so many minutes. The steps that fit are measured first; a small text that would be learned by
    heart gets fewer. [default: 3, unless --steps or --tokens is given]"""
    patience: int | None = None
    """Stop as soon as so many evaluations in a row have not lowered the validation loss."""
    batch_tokens: int | None = None
    """Tokens of a step, in micro-batches of which each fits in memory. [default: by the length of the text]"""
    tokenizer: str | None = None
    """What a token is: bpe (byte pairs that occur often), characters or words. [default: bpe]"""
    vocab_size: int | None = None
    """Tokens in the vocabulary; of characters and words, the most. [default: by the length of the text]"""
    seed: int | None = None
    """Decides the first weights and the order of the text. [default: 1]"""
    checkpoint_every: int | None = None
    """Steps between checkpoints. [default: a tenth of the run]"""
    config: Path | None = None
    """A TOML file with the tables [model] and [training], such as another run's run.toml, whose texts are taken too
    unless others are given."""
    set: list[str] = dataclasses.field(default_factory=list)
    """One more setting, such as model.n_layers=6 or training.learning_rate=0.002; may be given again."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard, too, into tensorboard/ of the run's folder."""
    resume: bool = False
    """Go on with the run in --out from its newest checkpoint."""
    overwrite: bool = False
    """Replace the run in --out."""
