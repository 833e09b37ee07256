"""onward's tokenizer beside its peers, on the same texts in the same run.

    python benchmarks/tokenizer.py [TEXT.txt ...] [--megabytes 20] [--rounds 5] [--vocab-size 8192]

The first text, by default the bundled one, is what the tokenizer is trained on; every text is then encoded with it.
Times are CPU seconds on one thread, which other work on the machine disturbs least; the contestants take turns, and
the median of the rounds counts. tokenizers and tiktoken come with the [dev] extra; gigabpe 0.1.0, gigatoken 0.10.0,
tuetoken 0.1.3 and quicktok-v1 0.4.0 take part where they are installed.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import lzma
import os
import random
import statistics
import string
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"  # before the peers are imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tiktoken
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from onward.tokenizer import Tokenizer, reference

Contestants = dict[str, Callable[[], object]]


def report(title: str, contestants: Contestants, megabytes: float, rounds: int) -> None:
    """Let the contestants take turns, and print the median of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            begin = time.process_time()
            work()
            seconds[name].append(time.process_time() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"\n{title}")
    for name, median in medians.items():
        ratio = median / medians["onward"]
        print(f"  {name:<12}{median * 1000:>10.1f} ms{megabytes / median:>10.1f} MB/s{ratio:>9.2f} x onward's time")


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def training(file: Path, vocab_size: int) -> Contestants:
    def train_tokenizers() -> None:
        peer = tokenizers.Tokenizer(models.BPE())
        peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        peer.train([str(file)], trainer)

    contestants: Contestants = {
        "onward": lambda: Tokenizer.train([file], vocab_size=vocab_size),
        "tokenizers": train_tokenizers,
    }
    if installed("gigabpe"):
        import gigabpe

        contestants["gigabpe"] = lambda: gigabpe.train_bpe(
            [str(file)], vocab_size, special_tokens=["<|endoftext|>"], threads=1
        )
    return contestants


def coding(tokenizer: Tokenizer, saved: Path, text: str) -> Iterator[tuple[str, Contestants]]:
    """The contestants of encoding to an array, encoding to a list, and decoding."""
    hugging_face = tokenizers.Tokenizer.from_file(str(saved))
    ranks = {tokenizer.token_bytes(id_): id_ for id_ in range(tokenizer.vocab_size - 1)}
    open_ai = tiktoken.Encoding("-", pat_str=reference.PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    ids = tokenizer.encode(text, disallowed_special=())
    assert ids == open_ai.encode_ordinary(text), "tiktoken disagrees"
    arrays: Contestants = {
        "onward": lambda: tokenizer.encode_array(text, disallowed_special=()),
        "tiktoken": lambda: open_ai.encode_to_numpy(text, disallowed_special=()),
    }
    lists: Contestants = {
        "onward": lambda: tokenizer.encode(text, disallowed_special=()),
        "tokenizers": lambda: hugging_face.encode(text).ids,
        "tiktoken": lambda: open_ai.encode_ordinary(text),
    }
    texts: Contestants = {
        "onward": lambda: tokenizer.decode(ids),
        "tokenizers": lambda: hugging_face.decode(ids),
        "tiktoken": lambda: open_ai.decode(ids),
    }
    if installed("gigatoken"):
        import gigatoken

        giga = gigatoken.Tokenizer(str(saved))
        arrays["gigatoken"] = lambda: giga.encode(text)
        lists["gigatoken"] = lambda: giga.encode_batch_list([text])
        texts["gigatoken"] = lambda: giga.decode(ids)
    if installed("tuetoken"):
        import tuetoken

        tue = tuetoken.Tokenizer(str(saved))
        lists["tuetoken"] = lambda: tue.encode_ordinary(text)
        texts["tuetoken"] = lambda: tue.decode(ids)
    yield "encode to an array", arrays
    yield "encode to a list", lists
    yield "decode", texts


def long_words(tokenizer: Tokenizer, rounds: int) -> None:
    """A megabyte without a place to cut, and how much longer eight of them take."""
    draw = random.Random(1)
    letters = "".join(draw.choices(string.ascii_letters, k=1_000_000))
    unicode = "".join(map(chr, draw.choices([*range(0x20, 0xD800), *range(0xE000, 0x110000)], k=260_000)))
    for name, text in {"a": "a" * 1_000_000, "blanks": " " * 1_000_000, "letters": letters, "Unicode": unicode}.items():
        contestants: Contestants = {
            "onward": lambda text=text: tokenizer.encode_array(text, disallowed_special=()),
        }
        if installed("quicktok"):
            import quicktok

            quick = quicktok.get_encoding("cl100k_base")
            contestants["quicktok"] = lambda text=text, quick=quick: quick.encode(text)
        report(f"1 MB of {name}, {tokenizer.split_pattern}", contestants, 1, rounds)
        eight = {"onward": lambda text=text * 8: tokenizer.encode_array(text, disallowed_special=())}
        report(f"8 MB of {name}, {tokenizer.split_pattern}", eight, 8, rounds)


def read(path: Path, megabytes: float) -> str:
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)
    data = unpack(path.read_bytes())
    return data[: int(megabytes * 1e6)].decode("utf-8", "ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    bundled = Path(str(files("onward") / "assets/tinyshakespeare.txt.gz"))
    parser.add_argument("texts", type=Path, nargs="*", default=[bundled])
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab-size", type=int, default=8192)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        file, saved = Path(folder) / "text.txt", Path(folder) / "tokenizer.json"
        file.write_text(read(options.texts[0], options.megabytes))
        size = file.stat().st_size / 1e6
        contestants = training(file, options.vocab_size)
        report(f"train {size:.1f} MB to {options.vocab_size:,} tokens", contestants, size, options.rounds)
        tokenizer = Tokenizer.train([file], vocab_size=options.vocab_size)
        tokenizer.save(saved)
        for path in options.texts:
            text = read(path, options.megabytes)
            size = len(text.encode()) / 1e6
            for title, contestants in coding(tokenizer, saved, text):
                report(f"{title}: {size:.1f} MB of {path.name}", contestants, size, options.rounds)
    data = os.environ.get("ONWARD_TEST_DATA")
    if data:
        tokenizer = Tokenizer.load(Path(data) / "tokenizers/cl100k_base.tiktoken.gz")
    long_words(tokenizer, options.rounds)


if __name__ == "__main__":
    main()
