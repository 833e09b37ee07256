"""What is learned by when: onward and nanoGPT's CPU setting on Shakespeare's characters, from process start.

Every run is a process of its own, and its clock begins with it: imports, tokenizer, every step and what is written
count; nanoGPT's evaluations do not, nor does it save anything. onward's clock ends when the checkpoint stands whole on
the disk; what follows is the curve's picture. One evaluator measures both, on the last tenth of the text in windows of
64 characters. nanoGPT also gets its schedule shortened to the time in which onward reached the target, at its best
learning rate of three.

Where other work runs beside, --one-thread counts the processor's seconds, which that work does not lengthen much.

Each point of onward's curve is a run of its own that ends there, since its learning rates fall to 0 at the end; of
nanoGPT's, a place on the way. Run: python benchmarks/learn.py [--seeds 1 2] [--steps N N …] [--picture curves.png]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from onward.plots import Line, Panel
from onward.plots import curves as draw
from onward.run import Run

CONTEXT = 64
SHAPE = ["model.n_layers=4", "model.d_model=128", "model.n_heads=2", f"model.context_length={CONTEXT}"]
TARGET = 1.886
ONE_THREAD = "LEARN_ON_ONE_THREAD"


def main() -> None:
    """Print every run as it ends, then when each reached the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 160, 200, 400, 1200])
    parser.add_argument("--peer-steps", type=int, default=2000)
    parser.add_argument("--learning-rates", type=float, nargs="*", default=[2e-3, 4e-3, 8e-3], help="of the short peer")
    parser.add_argument("--set", action="append", default=[], help="a setting of onward's runs")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--one-thread", action="store_true", help="all on one thread, in processor seconds")
    asked = parser.parse_args()
    if asked.one_thread:
        os.environ |= {"OMP_NUM_THREADS": "1", ONE_THREAD: "1"}
    curves: dict[str, list[tuple[float, float]]] = {}
    for seed in asked.seeds:
        onward = [run_onward(steps, seed, asked.set) for steps in asked.steps]
        curves[f"onward, seed {seed}"] = onward
        curves[f"nanoGPT, seed {seed}"] = peer = run_peer(asked.peer_steps, 1e-3, seed)
        seconds_a_step = peer[-1][0] / asked.peer_steps
        budget = next((seconds for seconds, loss in onward if loss <= TARGET), onward[-1][0])
        for learning_rate in asked.learning_rates if seed == asked.seeds[0] else ():
            steps = max(round(budget / seconds_a_step), 20)
            curves[f"nanoGPT, {steps} steps, learning rate {learning_rate}"] = run_peer(steps, learning_rate, seed)
    print(f"\n{'':48} seconds to {TARGET}   last")
    for name, curve in curves.items():
        reached = next((f"{seconds:.1f}" for seconds, loss in curve if loss <= TARGET), "-")
        print(f"{name:48} {reached:>16}   {curve[-1][1]:.3f} after {curve[-1][0]:.1f} s")
    if asked.picture:
        lines = [Line(name, *zip(*curve, strict=True)) for name, curve in curves.items()]
        panel = Panel(x="seconds since the process began", y="validation loss (nats per character)", lines=lines)
        draw(asked.picture, [panel], n_columns=1)


def run_onward(steps: int, seed: int, settings: list[str]) -> tuple[float, float]:
    """Seconds from the start of `onward train` until its last checkpoint is whole, and the loss of that model."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "onward.cli.app", "train", "--out", f"{folder}/run", "--steps", str(steps)]
        command += ["--size", "small", "--tokenizer", "characters", "--seed", str(seed)]
        quiet = [f"training.evaluate_every={steps}", "training.evaluation_tokens=1024"]
        for setting in [*SHAPE, "training.batch_size=16", *quiet, *settings]:
            command += ["--set", setting]
        began, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = Run(f"{folder}/run").checkpoint_folders()[-1].stat().st_ctime - began
        if ONE_THREAD in os.environ:  # to the end of the process
            seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        loss = loss_of_run(Path(folder) / "run")
    print(f"onward   seed {seed}  {steps:5} steps  {seconds:7.1f} s  {loss:.4f} nats", flush=True)
    return seconds, loss


def loss_of_run(folder: Path) -> float:
    """The loss of a run's model, by the evaluator that both have."""
    import torch

    import onward

    model = onward.load(folder)
    assert model.tokenizer is not None
    text = torch.tensor(model.tokenizer.encode(validation_text()))
    with torch.inference_mode():
        return windowed_loss(model, text)


def run_peer(steps: int, learning_rate: float, seed: int) -> list[tuple[float, float]]:
    """Seconds since the start of nanoGPT's process, without evaluations, and its loss, at ten places."""
    command = [sys.executable, __file__, "peer", str(steps), str(learning_rate), str(seed)]
    curve = []
    process = subprocess.Popen([*command, str(time.time())], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        step, loss, seconds = line.split()
        curve.append((float(seconds), float(loss)))
        print(
            f"nanoGPT  seed {seed}  {step:>5} steps  {curve[-1][0]:7.1f} s  {loss} nats, learning rate {learning_rate}",
            flush=True,
        )
    assert process.wait() == 0
    return curve


def peer(steps: int, learning_rate: float, seed: int, started: float) -> None:
    """Train nanoGPT's setting in this process; at ten places, print the step, the loss, and the seconds so far."""
    clock, paused = (time.process_time, 0.0) if ONE_THREAD in os.environ else (time.time, started)
    import torch
    from peers.nanogpt import Recipe, Training

    text = whole_text()
    characters = {character: number for number, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([characters[character] for character in text])
    cut = int(0.9 * len(text))
    warmup = min(Recipe.warmup_steps, steps // 20)
    recipe = Recipe(
        steps=steps, learning_rate=learning_rate, final_learning_rate=learning_rate / 10, warmup_steps=warmup
    )
    training = Training(tokens[:cut], recipe, seed)
    every = max(steps // 10, 1)
    for step in range(1, steps + 1):
        training.step(step - 1)
        if step % every == 0:
            before = clock()
            with torch.inference_mode():
                loss = windowed_loss(training.model, tokens[cut:])
            print(step, f"{loss:.4f}", before - paused, flush=True)
            paused += clock() - before


def windowed_loss(model, text) -> float:  # type: ignore[no-untyped-def]
    """Nats a character over windows of 64 characters, side by side."""
    import torch.nn.functional as F

    n_windows = (len(text) - 1) // CONTEXT
    tokens = text[: n_windows * CONTEXT].view(n_windows, CONTEXT)
    targets = text[1 : n_windows * CONTEXT + 1].view(n_windows, CONTEXT)
    summed = 0.0
    for rows, wanted in zip(tokens.split(256), targets.split(256), strict=True):
        summed += F.cross_entropy(model(rows).flatten(0, 1), wanted.flatten(), reduction="sum").item()
    return summed / targets.numel()


def whole_text() -> str:
    from onward.data.text import bundled_text, read_documents

    return read_documents([bundled_text()])[0]


def validation_text() -> str:
    text = whole_text()
    return text[int(0.9 * len(text)) :]


if __name__ == "__main__":
    if sys.argv[1:2] == ["peer"]:
        peer(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    else:
        main()
