"""Every Python block of README and docs/ runs, and every example in a docstring says what it prints."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

from onward.model.config import ModelConfig
from onward.training.config import TrainingConfig
from onward.training.options import TrainOptions
from onward.training.prepare import gather_settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    for path in sorted((ROOT / "src" / "onward").rglob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks or page.name != "README.md"
    monkeypatch.chdir(tmp_path)
    text = "".join(f"Once upon a time there were {n} trains, and train {n} was late.\n" for n in range(2000))
    Path("book.txt").write_text(text, encoding="utf-8")
    names: dict[str, object] = {}
    for block in blocks:
        # What takes minutes as it is written takes a moment here.
        exec(re.sub(r"minutes=[\d.]+", "steps=2, size='tiny'", block), names)


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize(
    "config", sorted((ROOT / "examples").glob("*/run.toml")), ids=lambda config: config.parent.name
)
def test_examples_are_settings_that_onward_takes(config: Path) -> None:
    model, training = gather_settings(TrainOptions(config=config))
    assert ModelConfig(**model).n_layers == 4
    assert TrainingConfig(**training).steps == 555
    assert (config.parent / "README.md").exists()
