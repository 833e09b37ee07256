from __future__ import annotations

import os
from pathlib import Path

import pytest

from onward.atomic import atomic_file, atomic_folder, remove_partial

DEAD = 999_999_999  # no process ever has this number


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError, match="full"), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise OSError("full")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_failure_leaves_no_parents(tmp_path: Path) -> None:
    for atomic in (atomic_file, atomic_folder):
        with pytest.raises(RuntimeError), atomic(tmp_path / "a" / "b" / "c"):
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "f") as temporary:
        (temporary / "x").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "f") as temporary:
        (temporary / "x").write_text("half")
        temporary.rename(tmp_path / f".partial-{DEAD}-g")
        raise RuntimeError
    (tmp_path / f".partial-{DEAD}-h").write_text("half")
    (tmp_path / f".partial-{os.getpid()}-i").write_text("somebody is at it")
    (tmp_path / "kept").write_text("whole")
    remove_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", f".partial-{os.getpid()}-i"}


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "x").write_text(content)
    assert [path.read_text() for path in tmp_path.rglob("x")] == ["new"]
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "f"):
        raise RuntimeError
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["new"]


def test_an_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: '.*note\.txt'"), atomic_file(tmp_path / "note.txt"):
        raise OSError(28, "No space left on device")
