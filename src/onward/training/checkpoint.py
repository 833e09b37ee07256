"""A checkpoint is a model folder with the state of the training beside it, written atomically, beside the training."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import shutil
from pathlib import Path
from types import TracebackType

from torch import Tensor

from onward.atomic import atomic_folder, remove_folder
from onward.config import check_format, from_dict, read_json, to_dict, write_json
from onward.errors import CheckpointError, ConfigError
from onward.model.decoder import Decoder
from onward.model.folder import (
    load_weights,
    read_lora,
    read_model_config,
    read_tensors,
    write_model_folder,
    write_tensors,
)
from onward.model.lora import add_adapters
from onward.model.weights import own_weights
from onward.run import Run
from onward.training.optimizer import Optimizer

FORMAT_VERSION = 1
_OPTIMIZER, _STATE, _MANIFEST = "optimizer.safetensors", "trainer.json", "manifest.json"


@dataclasses.dataclass(kw_only=True)
class TrainerState:
    """How far a run has come; all else follows from its config and its weights."""

    step: int = 0
    """Steps taken."""
    tokens: int = 0
    """Target tokens trained on."""
    seconds: float = 0.0
    """Time in training."""
    validation_loss: float | None = None
    """Mean loss on the validation text after this step, in nats per token, if it was evaluated then."""
    lowest_validation_loss: float | None = None
    """The lowest of all evaluations so far."""
    stale_evaluations: int = 0
    """How many evaluations there were since the lowest."""


class CheckpointWriter:
    """Writes checkpoints in a thread, from copies, so that the training need not wait for the disk.

    While it is entered, it writes; leaving it waits until everything is written.

    Args:
        run: the folder of the run.
        n_kept: how many of the newest checkpoints are kept, beside the one with the lowest validation loss.
    """

    def __init__(self, run: Run, n_kept: int) -> None:
        self._run = run
        self._n_kept = n_kept
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._written: concurrent.futures.Future[None] | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def save(self, model: Decoder, optimizer: Optimizer, state: TrainerState) -> None:
        """Copy everything, and begin to write it, once the checkpoint before is written.

        Raises:
            CheckpointError: the one before could not be written, for example on a full disk; older ones are as before.
        """
        self.wait()
        weights, memory = _copied(own_weights(model)), _copied(optimizer.state())
        self._written = self._thread.submit(self._write, model, weights, memory, dataclasses.replace(state))

    def check(self) -> None:
        """Raise what kept the last checkpoint from being written, if that is known by now."""
        if self._written is not None and self._written.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the last checkpoint is written, or raise what kept it from that."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def _write(
        self, model: Decoder, weights: dict[str, Tensor], memory: dict[str, Tensor], state: TrainerState
    ) -> None:
        folder = self._run.checkpoint_folder(state.step)
        try:
            with atomic_folder(folder) as temporary:
                write_model_folder(temporary, model, weights)
                write_tensors(temporary / _OPTIMIZER, memory)
                write_json(temporary / _STATE, to_dict(state))
                write_manifest(temporary)
            _forget_old(self._run, self._n_kept)
        except OSError as error:
            older = [path for path in self._run.checkpoint_folders() if path != folder]
            kept = f"{older[-1]} is whole" if older else "there is no older one"
            raise CheckpointError(
                f"cannot save {folder}: {error.strerror or error}; {kept}; "
                f"make room, then go on with: onward train --out {self._run.folder} --resume"
            ) from None


def newest_whole(run: Run) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are as they were written, and what is wrong with each newer one.

    Those are put aside under the name `broken-step-...`.

    Raises:
        CheckpointError: a checkpoint cannot be read, which does not say that it is broken.
    """
    faults: list[str] = []
    for folder in reversed(run.checkpoint_folders()):
        try:
            fault = fault_of(folder)
        except OSError as error:
            raise CheckpointError(f"cannot read {error.filename or folder}: {error.strerror}") from None
        if fault is None:
            return folder, faults
        aside = folder.with_name(f"broken-{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        faults.append(f"{fault}; it is put aside as {aside.name}")
    return None, faults


def load_checkpoint(folder: Path, model: Decoder, optimizer: Optimizer) -> TrainerState:
    """Fill the model and the optimizer from a checkpoint.

    Raises:
        CheckpointError: a file is missing, cut short, or belongs to another model.
    """
    if read_model_config(folder)[1] != model.config or read_lora(folder) != model.lora:
        raise CheckpointError(f"{folder} holds another model than run.toml describes; mend run.toml, or --overwrite")
    load_weights(model, folder)
    optimizer.load_state(read_tensors(folder / _OPTIMIZER, model.device))
    state = _read_state(folder)
    if folder.name != f"step-{state.step:06d}":
        raise CheckpointError(f"{folder / _STATE} says step {state.step}, which is not that of its folder")
    return state


def best_checkpoint(run: Run) -> Path | None:
    """The checkpoint with the lowest validation loss, of those that were evaluated."""
    losses = {}
    for folder in run.checkpoint_folders():
        try:
            loss = _read_state(folder).validation_loss
        except CheckpointError:  # being deleted, or broken: whoever loads it says so
            continue
        if loss is not None:
            losses[folder] = loss
    return min(losses, key=losses.__getitem__, default=None)


def _forget_old(run: Run, n_kept: int) -> None:
    """Delete all checkpoints but the newest ones and the best."""
    best = best_checkpoint(run)
    for old in run.checkpoint_folders()[:-n_kept]:
        if old != best:
            remove_folder(old)


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _read_state(folder: Path) -> TrainerState:
    try:
        return from_dict(TrainerState, read_json(folder / _STATE), str(folder / _STATE))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def write_manifest(folder: Path) -> None:
    """Write the length and the checksum of every file in `folder`."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(folder.iterdir())}
    write_json(folder / _MANIFEST, {"format": FORMAT_VERSION, "files": files})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint, or of any folder with a manifest; None: nothing was changed."""
    if not (folder / _MANIFEST).exists():
        return _fault_without_manifest(folder)
    try:
        manifest = read_json(folder / _MANIFEST)
        check_format(manifest, FORMAT_VERSION, str(folder / _MANIFEST))
        files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
    except (ConfigError, AttributeError, KeyError, TypeError, ValueError) as error:
        return f"{folder / _MANIFEST} is broken ({error})"
    for name, (n_bytes, checksum) in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            return f"there is no {path}"
        if path.stat().st_size != n_bytes:
            return f"{path} has {path.stat().st_size} bytes, not the {n_bytes} that were written"
        if _sha256(path) != checksum:
            return f"{path} is not what was written: its checksum differs"
    return None


def _fault_without_manifest(folder: Path) -> str | None:
    """The same for a checkpoint from before there were manifests, or whose manifest is gone: can all of it be read?"""
    try:
        _, config = read_model_config(folder)
        model = Decoder(config)
        if (lora := read_lora(folder)) is not None:
            add_adapters(model, lora)
        load_weights(model, folder)
        read_tensors(folder / _OPTIMIZER, model.device)
        _read_state(folder)
    except CheckpointError as error:
        return str(error)
    return None
