"""Files and folders that are either whole or not there: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_PARTIAL = ".partial-"


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to; on leaving, it becomes `path` in one step.

    If the body raises (a full disk, Ctrl-C), the temporary file is removed and what was at `path` stays.

    Raises:
        OSError: it cannot be written; with `path` as its file name.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_file(folder / "note.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['note.txt']
    """
    path = _absolute(path)
    temporary = _partial(path)
    with _parents(path), naming(path):
        try:
            yield temporary
            _fsync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _fsync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder to fill; on leaving, it becomes `path`, and what was there before is deleted.

    If the body raises, the temporary folder is removed and what was at `path` stays.

    Raises:
        OSError: it cannot be written; with `path` as its file name.
    """
    path = _absolute(path)
    temporary = _partial(path)
    replaced = path.with_name(f"{_PARTIAL}{os.getpid()}-replaced-{path.name}")
    with _parents(path), naming(path):
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _fsync(file)
            _fsync(temporary)
            if path.exists():
                path.rename(replaced)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _fsync(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Delete a folder; a kill on the way leaves nothing under its name."""
    doomed = _partial(_absolute(path))
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError of the body, such as that of a full disk, say which file it is about."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from None


def remove_partial(folder: Path) -> None:
    """Remove what processes that are no longer there left half-written in `folder`."""
    for leftover in folder.glob(f"{_PARTIAL}*"):
        owner = leftover.name.removeprefix(_PARTIAL).partition("-")[0]
        if not owner.isdigit() or _is_alive(int(owner)):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _partial(path: Path) -> Path:
    return path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")


def _absolute(path: str | os.PathLike[str]) -> Path:
    """The path with a name of its own, which `.` has not; links are kept."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve follows links)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the folders above `path`; if the body raises, take away those that were made."""
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody else may have put something there by now
            for parent in made:
                parent.rmdir()
        raise


def _fsync(path: Path) -> None:
    """Make the file or folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
