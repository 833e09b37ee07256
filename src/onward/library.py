"""Any model by its path: runs, checkpoints and model folders."""

from __future__ import annotations

from pathlib import Path

import torch

from onward.device import best_device
from onward.errors import CheckpointError
from onward.model.decoder import Decoder
from onward.model.folder import CONFIG, read_model_folder
from onward.run import Run


def load(path: str | Path, *, device: str = "auto") -> Decoder:
    """Load the model of a run (its newest checkpoint), or of a model folder, ready to run; its tokenizer is set.

    Args:
        path: a run folder, a checkpoint in it, or any folder with config.json and model.safetensors.
        device: where the weights go: cpu, cuda or mps; auto: the fastest that there is.

    Raises:
        CheckpointError: there is no model in `path`, or it is broken.
    """
    return read_model_folder(model_folder(Path(path)), torch.device(best_device() if device == "auto" else device))


def model_folder(path: Path) -> Path:
    """The model folder that `path` stands for: itself, or a run's newest checkpoint."""
    if (path / CONFIG).is_file():
        return path
    run = Run(path)
    if not run.exists():
        raise CheckpointError(f"there is no run and no model in {path}; train one with: onward train TEXT --out {path}")
    folders = run.checkpoint_folders()
    if not folders:
        raise CheckpointError(f"{path} has no checkpoint yet; go on with: onward train --out {path} --resume")
    return folders[-1]
