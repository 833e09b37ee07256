"""`onward show`, as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from onward.cli.app import main
from onward.model.decoder import Decoder
from onward.model.folder import write_model_folder


@pytest.fixture
def model(tiny_model: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("models/mine").mkdir(parents=True)
    write_model_folder(Path("models/mine"), tiny_model)
    return "models/mine"


def show(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr("sys.argv", ["onward", "show", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_it_prints_and_draws(model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(monkeypatch, model, "Line 7 日") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "5 tokens"
    assert lines[2].split() == ["0", "299", "'<|endoftext|>'"]
    assert any(line.startswith("  blocks.{0-1}.attn.pattern  (1, 4, 5, 5)") for line in lines)
    drawn = [line.removeprefix("drawn: ") for line in lines if line.startswith("drawn: ")]
    assert drawn == [f"show/mine/{name}.png" for name in ("mask", "positions", "attention", "lens")]
    assert show(monkeypatch, f"{model}/", "Line", "--out", "pictures") == 0
    assert sorted(path.name for path in Path("pictures").iterdir()) == sorted(Path(path).name for path in drawn)


def test_what_goes_wrong_is_one_line(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    for arguments, message in (
        (["nowhere", "text"], "there is no run and no model in nowhere"),
        ([model, "text", "--out", "file"], "file: File exists"),
    ):
        assert show(monkeypatch, *arguments) == 1
        errors = capsys.readouterr().err
        assert errors.startswith(f"error: {message}")
        assert errors.count("\n") == 1
