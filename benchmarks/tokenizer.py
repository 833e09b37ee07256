"""onward's tokenizer beside its peers: training, encoding, decoding, and text without a place to cut.

    python benchmarks/tokenizer.py [TEXT ...] [--megabytes 16] [--rounds 5] [--training 100:32768,10:50257]

A text is a file (plain, .gz, .xz, .zst, .jsonl), a folder with such files at any depth, or a pattern such as
'lib/*.py'. The first one is also what tokenizers are trained on, each time in a process of its own. GPT-2's and
GPT-4's vocabularies are looked for in $ONWARD_TEST_DATA/tokenizers (gpt2/, cl100k_base.tiktoken.gz).

Times are CPU seconds, which other work on the machine disturbs least; the contestants take turns, and the median of
the rounds counts. Who has used up PATIENCE sits the further rounds out, and the slow ones are given a sixteenth of the
text. All but "onward, 2 threads" run on one thread. What a contestant returns is compared with what onward returns.
Of the peers in benchmarks/requirements.txt those take part that are installed.
"""

from __future__ import annotations

import argparse
import glob
import importlib.metadata
import multiprocessing
import os
import random
import statistics
import string
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from peers import PEERS, installed
from peers.coding import Peer, competitors
from peers.training import TRAINERS, Training, train

os.environ["RAYON_NUM_THREADS"] = "1"  # before the peers are imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"

TRAINING_PATIENCE, PATIENCE = 6, 2  # seconds
SLOW = ("tokenizers", "tiktoken")


def trainings(file: Path, vocab_size: int, rounds: int) -> None:
    """Print what training on a file takes, each time in a new process."""
    names = [name for name, (module, _) in TRAINERS.items() if installed(module)]
    runs: dict[str, list[Training]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            if sum(run.cpu for run in runs[name]) < TRAINING_PATIENCE:
                # Spawned: a fork would have this process's memory.
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    runs[name].append(process.submit(train, name, file, vocab_size).result())
    title = f"train {file.stat().st_size / 1e6:.1f} MB to {vocab_size:,} tokens"
    print(f"\n{title:<46}    CPU s   wall s  peak MB     runs  x onward's time")
    medians = {
        name: [statistics.median(column) for column in zip(*of_name, strict=True)] for name, of_name in runs.items()
    }
    for name, (cpu, wall, memory, size) in medians.items():
        row = f"{cpu:9.3f}{wall:9.3f}{memory:9.1f}{len(runs[name]):9}{cpu / medians['onward'][0]:17.2f}"
        print(f"  {name:<44}{row}{'' if size == vocab_size else f'  (made {size:,.0f} tokens)'}", flush=True)


class Work(NamedTuple):
    """What a contestant is given, how much text that is, and what is to come out."""

    given: Any
    megabytes: float
    expected: Any


Contestants = dict[str, Callable[[Any], Any]]


class Outcome(NamedTuple):
    """How a contestant did."""

    seconds: float
    """CPU, the median."""
    megabytes: float
    runs: int
    remark: str


def compete(contestants: Contestants, whole: Work, short: Work, rounds: int) -> dict[str, Outcome]:
    """Let the contestants take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    remarks = dict.fromkeys(contestants, "")
    work = {name: short if name in SLOW else whole for name in contestants}
    for number in range(rounds):
        for name, contestant in contestants.items():
            if remarks[name].startswith("fails") or sum(seconds[name]) > PATIENCE:
                continue
            begin = time.process_time()
            try:
                result = contestant(work[name].given)
            except Exception as error:
                remarks[name] = f"fails: {str(error)[:60]}"
                continue
            seconds[name].append(time.process_time() - begin)
            if number == 0 and not same(result, work[name].expected):
                remarks[name] = "other result than onward's"
    return {
        name: Outcome(
            statistics.median(times) if times else float("nan"), work[name].megabytes, len(times), remarks[name]
        )
        for name, times in seconds.items()
    }


def same(result: Any, expected: Any) -> bool:
    import numpy as np

    return result == expected if isinstance(expected, str) else np.array_equal(np.asarray(result), expected)


def coding(tokenizer: Any, peers: list[Peer], texts: Iterable[tuple[str, str]], rounds: int) -> None:
    """Print how fast each peer encodes and decodes the texts (name, text)."""
    for text_name, text in texts:
        short = text[: len(text) // 16]
        size, short_size = len(text.encode()) / 1e6, len(short.encode()) / 1e6
        ids, short_ids = (tokenizer.encode_array(part, disallowed_special=()) for part in (text, short))
        encoding = Work(text, size, ids), Work(short, short_size, short_ids)
        # As whoever has ids from elsewhere: uint32 in an array.
        decoding = Work(ids.astype("uint32"), size, text), Work(short_ids.astype("uint32"), short_size, short)
        lists = tuple(Work(work.given.tolist(), *work[1:]) for work in decoding)
        for way, title, work in (
            ("to_array", "encode to numpy", encoding),
            ("to_list", "encode to a list", encoding),
            ("from_list", "decode a list", lists),
            ("from_array", "decode numpy", decoding),
        ):
            contestants = {peer.name: getattr(peer, way) for peer in peers if getattr(peer, way)}
            outcomes = compete(contestants, *work, rounds)
            heading = f"{title}: {size:.1f} MB of {text_name}, {tokenizer.split_pattern}"
            print(f"\n{heading:<57} MB/s     runs  x onward's time")
            speeds = {name: outcome.megabytes / outcome.seconds for name, outcome in outcomes.items()}
            for name, outcome in outcomes.items():
                row = f"{speeds[name]:18.1f}{outcome.runs:9}{speeds['onward'] / speeds[name]:17.2f}"
                print(f"  {name:<42}{row}  {outcome.remark}", flush=True)


def without_a_cut(tokenizer: Any, peers: list[Peer], rounds: int) -> None:
    """Print the time that a megabyte without a place to cut takes, and eight of them."""
    draw = random.Random(1)
    scalars = [*range(0x20, 0xD800), *range(0xE000, 0x110000)]
    texts = {
        "one letter": "a" * 8_000_000,
        "spaces": " " * 8_000_000,
        "letters": "".join(draw.choices(string.ascii_letters, k=8_000_000)),
        "random Unicode": "".join(map(chr, draw.choices(scalars, k=2_080_000))),
    }
    contestants = {peer.name: peer.to_array or peer.to_list for peer in peers}
    for name, text in texts.items():
        works = []
        for part in (text[: len(text) // 8], text):
            expected = tokenizer.encode_array(part, disallowed_special=())
            works.append(Work(part, len(part.encode()) / 1e6, expected))
        one, eight = (compete(contestants, work, work, rounds) for work in works)
        title = f"{works[0].megabytes:.1f} MB of {name}, {tokenizer.split_pattern}"
        print(f"\n{title:<42}    ms of it  ms of 8 times  times as long  x onward's time")
        for peer in contestants:
            first, last = one[peer], eight[peer]
            row = f"{first.seconds * 1000:12.2f}{last.seconds * 1000:15.2f}{last.seconds / first.seconds:15.1f}"
            remark = first.remark or last.remark
            print(f"  {peer:<40}{row}{first.seconds / one['onward'].seconds:17.2f}  {remark}", flush=True)


def text_blocks(pattern: str, megabytes: float) -> Iterator[bytes]:
    """The beginning of a text; of many files in an order drawn by lot, so that each language has its part."""
    from onward.tokenizer.sources import TextFiles

    found = Path(pattern).rglob("*") if Path(pattern).is_dir() else map(Path, glob.glob(pattern))  # noqa: PTH207
    paths = sorted(path for path in found if path.is_file() and not (Path(pattern).is_dir() and path.is_symlink()))
    if not paths:
        raise SystemExit(f"no file {pattern}")
    random.Random(1).shuffle(paths)
    left = int(megabytes * 1e6)
    for _, blocks in TextFiles(paths).texts():
        for block in blocks:
            yield block[:left].decode("utf-8", "ignore").encode()
            left -= len(block)
            if left <= 0:
                return


def training_plan(text: str, wanted: str, folder: Path) -> Iterator[tuple[Path, int]]:
    """Files with the beginnings of a text, and how many tokens to train on each."""
    for row in filter(None, wanted.split(",")):
        megabytes, _, vocab_size = row.partition(":")
        file = folder / f"train{megabytes}.txt"
        with file.open("wb") as out:
            out.writelines(text_blocks(text, float(megabytes)))
        size = file.stat().st_size / 1e6
        if size < 0.99 * float(megabytes):
            print(f"\n(train {megabytes} MB to {vocab_size}: left out, the first text has {size:.1f} MB)")
        else:
            yield file, int(vocab_size)
        file.unlink()


def print_versions() -> None:
    there = {name: importlib.metadata.version(name) for name, module in PEERS.items() if installed(module)}
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors")
    print("measured:", ", ".join(f"{name} {version}" for name, version in there.items()))
    print("not installed:", ", ".join(name for name in PEERS if name not in there) or "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    bundled = str(files("onward") / "assets/tinyshakespeare.txt.gz")
    parser.add_argument("texts", nargs="*", default=[bundled, f"{sysconfig.get_path('stdlib')}/*.py"])
    parser.add_argument("--megabytes", type=float, default=16, help="of each text to encode (16)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--training",
        default="100:32768,10:50257,1:8192",
        help="megabytes of the first text, and tokens to train on them; what it has too little text for is left out",
    )
    options = parser.parse_args()
    print_versions()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, vocab_size in training_plan(options.texts[0], options.training, folder):
            trainings(file, vocab_size, options.rounds)

        from onward.tokenizer import Tokenizer  # not before: the processes that train are to be small

        texts = [
            (Path(text).name, b"".join(text_blocks(text, options.megabytes)).decode("utf-8")) for text in options.texts
        ]
        data = Path(os.environ.get("ONWARD_TEST_DATA", ""), "tokenizers")
        known = data / "gpt2"
        tokenizer = Tokenizer.load(known) if known.exists() else Tokenizer.train_on([texts[0][1]], vocab_size=8192)
        coding(tokenizer, competitors(tokenizer, folder), texts, options.rounds)
        if (ranks := data / "cl100k_base.tiktoken.gz").exists():
            tokenizer = Tokenizer.load(ranks)
            peers = competitors(tokenizer, folder)
            coding(tokenizer, peers, texts[:1], options.rounds)
            without_a_cut(tokenizer, peers, options.rounds)
        else:
            print("\n(GPT-4's vocabulary and text without a place to cut: left out, no $ONWARD_TEST_DATA)")


if __name__ == "__main__":
    main()
