from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onward.errors import ConfigError, RunError
from onward.model.config import ModelConfig
from onward.run import Metrics, Run
from onward.training.config import RunConfig, TrainingConfig
from onward.training.overview import Overview, compare, differences, find_runs, table

MakeRun = Callable[..., Run]

CONFIG = RunConfig(
    texts=["book.txt"],
    size="tiny",
    model=ModelConfig(vocab_size=300, context_length=16, n_layers=1, d_model=8, n_heads=1),
    training=TrainingConfig(steps=100, evaluate_every=10),
)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Make a run of so many steps, each 0.5 s, with these validation losses in turn, one every ten steps."""

    def make(name: str, n_steps: int, losses: list[float], **training: object) -> Run:
        run = Run(tmp_path / "runs" / name)
        run.folder.mkdir(parents=True)
        config = dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, **training))  # type: ignore[arg-type]
        config.save(run.config_file)
        for step in range(1, n_steps + 1):
            number, rest = divmod(step, 10)
            loss = losses[number - 1] if rest == 0 and number <= len(losses) else None
            run.record(
                Metrics(
                    step=step,
                    tokens=64 * step,
                    seconds=0.5 * step,
                    loss=4.0,
                    learning_rate_share=1.0,
                    gradient_norm=1.0,
                    validation_loss=loss,
                    validation_bits_per_byte=None if loss is None else loss / 2,
                )
            )
        return run

    return make


def test_the_best_run_comes_first_and_a_broken_one_says_so(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("a", 100, [4.0, 3.0, 3.5])
    best = make_run("b", 25, [2.5, 2.4])
    make_run("c", 0, [])
    newer = make_run("newer", 5, [])
    newer.config_file.write_text("format = 7\n")
    binary = make_run("binary", 5, [])
    binary.metrics_file.write_bytes(os.urandom(300_000) + b"\n")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / ".partial-1-d").mkdir()
    (tmp_path / "runs" / ".partial-1-d" / "run.toml").touch()
    best.checkpoint_folder(25).mkdir(parents=True)
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, best.checkpoint_folder(25) / "model.safetensors")
    lines = table(find_runs(tmp_path / "runs")).splitlines()
    assert [line.split()[:8] for line in lines[1:4]] == [
        ["stopped", "25/100", "1.200", "2.400", "1,600", "0:12", "128", "17"],
        ["finished", "100/100", "1.500", "3.000", "6,400", "0:50", "128", "-"],
        ["stopped", "0/100", "-", "-", "-", "-", "-", "-"],
    ]
    assert lines[2].endswith("a  (no checkpoint)")
    assert "binary/metrics.jsonl, line " in lines[4]
    assert lines[4].startswith("broken ")
    assert "has format 7; this onward reads format 1" in lines[5]
    assert len(lines) == 6


def test_nothing_left_to_learn_is_the_best(make_run: MakeRun) -> None:
    runs = [make_run("a", 10, [1.0]), make_run("b", 10, [0.0])]
    assert [line.split("  (")[0][-1] for line in table(runs).splitlines()[1:]] == ["b", "a"]


def test_a_run_that_trains_at_this_moment(make_run: MakeRun) -> None:
    run = make_run("a", 100, [3.0])
    with run.metrics_file.open("a") as file:
        file.write('{"step": 101, "tok')
    with run.lock():
        assert Overview.of(run).state == "running"
    view = Overview.of(run)
    assert view.state == "finished"
    assert view.last is not None
    assert view.last.step == 100


@pytest.mark.parametrize(("patience", "state"), [(0, "stopped"), (2, "finished"), (3, "stopped")])
def test_a_run_that_lost_patience_is_finished(make_run: MakeRun, patience: int, state: str) -> None:
    assert Overview.of(make_run("a", 40, [4.0, 3.0, 3.0, 3.1], patience=patience)).state == state


def test_hostile_names_reach_no_terminal(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("\x1b[2J\udcff[bold]", 3, [])
    name = table(find_runs(tmp_path / "runs")).splitlines()[1]
    assert "�[2J�[bold]" in name
    name.encode()


def test_a_folder_may_be_the_run_itself_or_none(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("a", 3, [])
    assert [found.folder for found in find_runs(run.folder)] == [run.folder]
    for path, message in ((tmp_path, "there is no run in"), (tmp_path / "x", "there is no folder")):
        with pytest.raises(RunError, match=message):
            find_runs(path)


def test_compare_draws_and_says_what_differs(make_run: MakeRun, tmp_path: Path) -> None:
    one = make_run("one", 30, [4.0, float("nan"), 3.5])
    other = make_run("other", 20, [3.9, 3.4], learning_rate=0.5, seed=2)
    views = [Overview.of(one), Overview.of(other)]
    assert differences(views) == {"training.seed": [1, 2], "training.learning_rate": [0.02, 0.5]}
    picture = tmp_path / "new" / "compare.png"
    lines = compare([one, other], picture).splitlines()
    assert lines[4].split()[1:] == [str(one.folder), str(other.folder)]
    assert [line.split() for line in lines[5:7]] == [
        ["training.seed", "1", "2"],
        ["training.learning_rate", "0.02", "0.5"],
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "all settings are the same" in compare([one, one], picture)
    with pytest.raises(RunError, match="has taken no step yet"):
        compare([one, make_run("c", 0, [])], picture)
    with pytest.raises(ConfigError, match=r"cannot read .*run\.toml"):
        compare([one, Run(tmp_path / "nowhere")], picture)
