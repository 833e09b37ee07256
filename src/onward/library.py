"""Any model by its path: runs, checkpoints and model folders."""

from __future__ import annotations

from pathlib import Path

from onward.device import resolve_device
from onward.errors import CheckpointError
from onward.model.decoder import Decoder
from onward.model.folder import CONFIG, read_model_folder
from onward.run import Run

ARCHITECTURES = {"decoder": Decoder}
"""The class of each architecture that a config.json may name."""


def load(path: str | Path, *, device: str = "auto") -> Decoder:
    """Load the model of a run (its newest checkpoint), or of a model folder, ready to run; its tokenizer is set.

    Args:
        path: a run folder, a checkpoint in it, or any folder with config.json and model.safetensors.
        device: where the weights go: cpu, cuda or mps; auto: the fastest that there is.

    Raises:
        CheckpointError: there is no model in `path`, or it is broken.
        ConfigError: there is no such device.

    >>> model = load("runs/book")  # doctest: +SKIP
    """
    path, device = Path(path), resolve_device(device)
    if (path / CONFIG).is_file():
        return read_model_folder(path, ARCHITECTURES, device)
    run = Run(path)
    if not run.exists():
        raise CheckpointError(f"there is no run and no model in {path}; train one with: onward train TEXT --out {path}")
    folders = run.checkpoint_folders()
    if not folders:
        raise CheckpointError(f"{path} has no checkpoint yet; go on with: onward train --out {path} --resume")
    try:
        return read_model_folder(folders[-1], ARCHITECTURES, device)
    except CheckpointError as error:
        older = f"; the one before it is {folders[-2]}" if len(folders) > 1 else ""
        raise CheckpointError(f"{error}{older}") from None
