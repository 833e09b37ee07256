"""A checkpoint is a model folder with the state of the training beside it, written atomically."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from onward.atomic import atomic_folder
from onward.config import from_dict, read_json, write_json
from onward.errors import CheckpointError, ConfigError
from onward.model.decoder import Decoder
from onward.model.folder import load_weights, read_model_config, read_tensors, write_model_folder, write_tensors
from onward.run import Run
from onward.training.optimizer import Optimizer

N_KEPT = 2
_OPTIMIZER, _STATE = "optimizer.safetensors", "trainer.json"


@dataclasses.dataclass(kw_only=True)
class TrainerState:
    """How far a run has come; all else follows from its config and its weights."""

    step: int = 0
    """Steps taken."""
    tokens: int = 0
    """Target tokens trained on."""
    seconds: float = 0.0
    """Time in training."""


def save_checkpoint(run: Run, model: Decoder, optimizer: Optimizer, state: TrainerState) -> Path:
    """Write a checkpoint, then delete the oldest beyond the last two.

    Raises:
        CheckpointError: it cannot be written, for example on a full disk; older ones stay as they are.
    """
    folder = run.checkpoint_folder(state.step)
    try:
        with atomic_folder(folder) as temporary:
            write_model_folder(temporary, model)
            write_tensors(temporary / _OPTIMIZER, optimizer.state())
            write_json(temporary / _STATE, dataclasses.asdict(state))
    except OSError as error:
        older = run.checkpoint_folders()
        kept = f"{older[-1]} is whole" if older else "there is no older one"
        raise CheckpointError(
            f"cannot save {folder}: {error.strerror or error}; {kept}; "
            f"make room, then go on with: onward train --out {run.folder} --resume"
        ) from None
    for old in run.checkpoint_folders()[:-N_KEPT]:
        shutil.rmtree(old)
    return folder


def load_checkpoint(folder: Path, model: Decoder, optimizer: Optimizer) -> TrainerState:
    """Fill the model and the optimizer from a checkpoint.

    Raises:
        CheckpointError: a file is missing, cut short, or belongs to another model.
    """
    if read_model_config(folder)[1] != model.config:
        raise CheckpointError(f"{folder} holds another model than run.toml describes; mend run.toml, or --overwrite")
    load_weights(model, folder)
    optimizer.load_state(read_tensors(folder / _OPTIMIZER, model.device))
    try:
        state = from_dict(TrainerState, read_json(folder / _STATE), str(folder / _STATE))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if folder.name != f"step-{state.step:06d}":
        raise CheckpointError(f"{folder / _STATE} says step {state.step}, which is not that of its folder")
    return state
