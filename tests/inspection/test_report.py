from __future__ import annotations

import dataclasses
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from onward.errors import ConfigError
from onward.inspection.report import _speeds, write_report
from onward.run import Metrics, Run
from onward.training.config import RunConfig
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
from onward.training.progress import ProgressView
from onward.training.trainer import Trainer
from tests.conftest import TINY_TEXT

HOSTILE = "<script>alert(1)</script>\"'&amp;"


class Page(HTMLParser):
    """What a browser would find in a page: every tag must be closed, and what is fetched is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.fetched: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []
        assert {"script", "link", "iframe", "object", "a", "form"} & set(self.seen) == set()
        assert all(address.startswith("data:image/png;base64,") for address in self.fetched)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a few steps."""
    import io

    from rich.console import Console

    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TINY_TEXT, encoding="utf-8")
    run = Run(folder / "run")
    run.folder.mkdir()
    settings = ["model.context_length=16", "training.dtype=float32", "training.batch_size=4"]
    options = TrainOptions(size="tiny", vocab_size=300, steps=6, set=[*settings, "training.evaluate_every=3"])
    prepare(run, [folder / "text.txt"], options, say=lambda line: None)
    with ProgressView(6, Console(file=io.StringIO())) as view:
        Trainer(run, RunConfig.load(run.config_file)).run(view)
    return run


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(trained.folder, tmp_path / "a run"))


def test_everything_is_in_the_page(run: Run, tmp_path: Path) -> None:
    page = Page(write_report(run, tmp_path / "new" / "page.html"))
    for words in ("a run", "finished, 6 of 6 steps on text.txt", "after step 3", "after step 6", "300 tokens in the"):
        assert words in page.text
    assert "The model of step-00000" in page.text
    assert "training.learning_rate" in page.text
    last = run.last_evaluation()
    assert last is not None
    assert f"{last.validation_bits_per_byte:.3f}" in page.text
    assert len(page.fetched) >= 2 * 7  # five curves at least, attention, the logit lens; light and dark
    assert len(set(page.fetched)) == len(page.fetched)


def test_a_text_of_ones_own_is_cut_into_tokens(run: Run, tmp_path: Path) -> None:
    text = "Line 7 日 <b>bold</b>"
    page = Page(write_report(run, tmp_path / "page.html", text=text))
    assert f"tokens for {len(text.encode())} bytes" in page.text
    assert "<b>" in page.text
    assert "b" not in page.seen


def test_nothing_hostile_becomes_markup(run: Run, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "_")
    hostile = Run(run.folder.rename(run.folder.with_name(f"{name}\x1b\udcff")))
    hostile.add_sample(6, f"</pre></details>{HOSTILE}\x00\u202e")
    config = RunConfig.load(hostile.config_file)
    dataclasses.replace(config, texts=[HOSTILE.replace("/", "_")]).save(hostile.config_file)
    path = write_report(hostile, tmp_path / "page.html", text=HOSTILE)
    page = Page(path)
    assert page.text.count("<script>") >= 4  # as text, in the title, the heading, a sample and the settings
    assert "<script" not in path.read_text(encoding="utf-8")
    assert not {"\x00", "\u202e", "\x1b"} & set(path.read_text(encoding="utf-8"))


def test_first_middle_and_last_sample_are_open(run: Run, tmp_path: Path) -> None:
    run.samples_file.unlink()
    for step in range(1, 102):
        run.add_sample(step, f"sample {step}")
    html = write_report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "12 of 101 samples" in html
    assert [int(step) for step in re.findall(r"<details open><summary>after step (\d+)<", html)] == [1, 56, 101]


def test_what_is_missing_or_broken_is_said(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    newest = run.checkpoint_folders()[-1]
    for folder in run.checkpoint_folders():
        (folder / "model.safetensors").write_bytes(b"broken")
    assert f"{newest.name} cannot be read" in Page(write_report(run, path)).text
    shutil.rmtree(run.checkpoints)
    run.tokenizer_file.unlink()
    shutil.rmtree(run.folder / "data")
    run.samples_file.unlink()
    page = Page(write_report(run, path))
    assert "There is no checkpoint" in page.text
    assert page.fetched
    assert "The model of" not in page.text
    run.metrics_file.write_text('{"step": 1, "tok')
    assert "No step is taken yet" in Page(write_report(run, path)).text
    run.config_file.write_text("format = 9\n")
    with pytest.raises(ConfigError, match="has format 9"):
        write_report(run, path)


def test_a_run_whose_best_checkpoint_is_broken_shows_another(run: Run, tmp_path: Path) -> None:
    first, last = run.checkpoint_folders()
    for folder in (first, last):
        (folder / "trainer.json").unlink()  # then none is known to be the best
    (last / "config.json").write_text("{")
    page = Page(write_report(run, tmp_path / "page.html"))
    assert f"{last.name} cannot be read" in page.text
    assert f"The model of {first.name}" in page.text


def test_speed_is_that_of_the_steps_before() -> None:
    def at(step: int, seconds: float) -> Metrics:
        return Metrics(step=step, tokens=100 * step, seconds=seconds, loss=1, learning_rate_share=1, gradient_norm=1)

    speeds = _speeds([at(1, 1.0), at(2, 2.0), at(3, 2.5), at(4, 2.5)])
    assert speeds[:2] == [100, 200]
    assert speeds[2] != speeds[2]
