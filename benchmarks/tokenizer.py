"""onward's tokenizer beside its peers, on the same text in the same run.

    python benchmarks/tokenizer.py TEXT.txt [--megabytes 10] [--rounds 3]

Times are CPU seconds, which other work on the machine disturbs least; the contestants take turns, and the median of
the rounds counts. The peers are those of the [dev] extra.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tiktoken
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from onward.tokenizer import Tokenizer, reference

Contestants = dict[str, Callable[[], object]]


def medians(contestants: Contestants, rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            begin = time.process_time()
            work()
            seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def report(title: str, contestants: Contestants, megabytes: float, rounds: int) -> None:
    results = medians(contestants, rounds)
    print(f"\n{title}")
    for name, seconds in results.items():
        times = seconds / results["onward"]
        print(f"  {name:<12}{seconds:>9.3f} s{megabytes / seconds:>10.1f} MB/s{times:>9.2f} x onward's time")


def train_tokenizers(file: Path, vocab_size: int) -> tokenizers.Tokenizer:
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train([str(file)], trainer)
    return peer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=32768)
    options = parser.parse_args()

    text = options.text.read_bytes()[: int(options.megabytes * 1e6)].decode("utf-8", "ignore")
    megabytes = len(text.encode()) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text(text)
        report(
            f"train {megabytes:.1f} MB to {options.vocab_size:,} tokens",
            {
                "onward": lambda: Tokenizer.train([file], vocab_size=options.vocab_size),
                "tokenizers": lambda: train_tokenizers(file, options.vocab_size),
            },
            megabytes,
            options.rounds,
        )
        tokenizer = Tokenizer.train([file], vocab_size=options.vocab_size)
        saved = Path(folder) / "tokenizer.json"
        tokenizer.save(saved)
        hugging_face = tokenizers.Tokenizer.from_file(str(saved))
        ranks = {tokenizer.token_bytes(id_): id_ for id_ in range(tokenizer.vocab_size - 1)}
        open_ai = tiktoken.Encoding("-", pat_str=reference.PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})

        ids = tokenizer.encode(text)
        assert ids == open_ai.encode_ordinary(text), "tiktoken disagrees"
        report(
            "encode to a list",
            {
                "onward": lambda: tokenizer.encode(text),
                "tokenizers": lambda: hugging_face.encode(text).ids,
                "tiktoken": lambda: open_ai.encode_ordinary(text),
            },
            megabytes,
            options.rounds,
        )
        report(
            "encode to an array",
            {
                "onward": lambda: tokenizer.encode_array(text),
                "tiktoken": lambda: open_ai.encode_to_numpy(text, disallowed_special=()),
            },
            megabytes,
            options.rounds,
        )
        report(
            "decode",
            {
                "onward": lambda: tokenizer.decode(ids),
                "tokenizers": lambda: hugging_face.decode(ids),
                "tiktoken": lambda: open_ai.decode(ids),
            },
            megabytes,
            options.rounds,
        )


if __name__ == "__main__":
    main()
