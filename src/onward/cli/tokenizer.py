"""`onward tokenizer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

app = App(name="tokenizer", help="Train a tokenizer on its own, and look at what one makes of a text.")

EncodedBy = Annotated[
    Path,
    Parameter(
        help="A run folder, a tokenizer.json, a folder with GPT-2's encoder.json and vocab.bpe, or tiktoken ranks."
    ),
]


@app.command
def train(
    text: Path,
    /,
    *more: Path,
    out: Path,
    vocab_size: int = 8192,
    special_tokens: tuple[str, ...] | None = None,
    split_pattern: str | None = None,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    max_words: int | None = None,
    max_bytes: int | None = None,
    threads: int | None = None,
    extend: Path | None = None,
) -> None:
    """Train a byte-pair tokenizer, and save it as a tokenizer.json.

    ```
    onward tokenizer train book.txt --vocab-size 4096 --out tokenizer.json
    onward tokenizer train stories/ --split-pattern cl100k --out runs/tokenizer
    onward tokenizer train laws.jsonl.zst --extend gpt2/ --vocab-size 60000 --out gpt2_laws.json
    ```

    Args:
        text: A file of text (plain, .gz, .xz, .zst, or .jsonl with a "text" a line), or a folder of them.
        more: More of them.
        out: The file (a name in .tiktoken gets ranks), or the folder to put a tokenizer.json into.
        vocab_size: Tokens in the vocabulary: the 256 bytes, the special tokens, what is learned, and with --extend
            the tokens that there are.
        special_tokens: A token that stands for no text; repeat the option for each. Without any: <|endoftext|>.
        split_pattern: How text is cut: gpt2 (the default), cl100k, o200k, llama3, smollm2, whitespace or byte.
        min_frequency: How often a pair of tokens must occur to become a token.
        max_token_length: The most bytes that a token may have; no limit by default.
        max_words: The most distinct words to keep in memory; the rarest are dropped, and it is said how many. All by
            default, which is right until memory runs out.
        max_bytes: How many bytes of the text to read, from its beginning; all by default.
        threads: Threads that count words; as many as there are processors by default.
        extend: A tokenizer (a run folder, a tokenizer.json, ...) to add tokens to; all its ids stay.
    """
    import time

    from rich.console import Console

    from onward.errors import ConfigError
    from onward.tokenizer import Tokenizer
    from onward.tokenizer.progress import progress_bar
    from onward.tokenizer.train import TrainingStatus

    began = time.perf_counter()
    texts = [text, *more]
    left_out: list[str] = []
    with progress_bar(Console(stderr=True)) as show:

        def watch(status: TrainingStatus) -> None:
            show(status.stage, status.done, status.total)
            left_out[:] = status.left_out()

        options: dict[str, Any] = {
            "vocab_size": vocab_size,
            "min_frequency": min_frequency,
            "max_token_length": max_token_length,
            "max_words": max_words,
            "max_bytes": max_bytes,
            "threads": threads,
            "watch": watch,
        }
        if extend is None:
            kept = {"special_tokens": special_tokens, "split_pattern": split_pattern}
            options |= {name: value for name, value in kept.items() if value}
            tokenizer = Tokenizer.train(texts, **options)
        elif special_tokens or split_pattern:
            raise ConfigError("--extend keeps both as they are: leave --special-tokens and --split-pattern out")
        else:
            tokenizer = Tokenizer.load(extend).extend(texts, **options)
    tokenizer.save(out)
    for sentence in left_out:
        print(sentence)
    print(f"{out}: {tokenizer.vocab_size:,} tokens, learned in {time.perf_counter() - began:.1f} s")


@app.command
def simple(
    kind: Literal["characters", "words"],
    text: Path,
    /,
    *more: Path,
    out: Path,
    vocab_size: int | None = None,
    split_pattern: str = "gpt2",
    min_frequency: int = 1,
) -> None:
    """Make a tokenizer whose tokens are the characters or the words of a text, and save it as a tokenizer.json.

    What the text does not hold becomes <|unknown|>.

    ```
    onward tokenizer simple characters book.txt --out characters.json
    onward tokenizer simple words book.txt --min-frequency 2 --vocab-size 10000 --out words.json
    ```

    Args:
        kind: What a token is.
        text: A file of text (plain, .gz, .xz, .zst, or .jsonl with a "text" a line), or a folder of them.
        more: More of them.
        out: The file, or the folder to put a tokenizer.json into.
        vocab_size: The most tokens, of which the most frequent are kept. Without it: all.
        split_pattern: How text is cut into words: gpt2, cl100k, o200k, llama3, smollm2, whitespace or byte.
        min_frequency: How often a word must occur to be a token.
    """
    from onward.tokenizer.simple import train

    tokenizer = train(
        [text, *more], kind, vocab_size=vocab_size, split_pattern=split_pattern, min_frequency=min_frequency
    )
    tokenizer.save(out)
    print(f"{out}: {tokenizer.vocab_size:,} tokens")


@app.command
def encode(tokenizer: EncodedBy, text: str, /) -> None:
    """Show the pieces of a text and their ids; the text of a special token becomes that token.

    ```
    onward tokenizer encode runs/demo "What light through yonder window breaks?"
    ```

    Args:
        tokenizer: The tokenizer.
        text: What to encode.
    """
    from onward.tokenizer import Tokenizer
    from onward.tokenizer.show import escaped

    loaded = Tokenizer.load(tokenizer)
    ids = loaded.encode(text, allowed_special="all")
    for token, piece in zip(ids, loaded.pieces(ids), strict=True):
        print(f"{token:>7}  {escaped(piece)}")
    print(f"{len(ids)} tokens for {len(text.encode())} bytes")


@app.command
def encode_file(tokenizer: EncodedBy, text: Path, /, *more: Path, out: Path, threads: int | None = None) -> None:
    """Encode text files into a token file.

    ```
    onward tokenizer encode-file runs/demo stories/ --out stories.tokens
    ```

    Args:
        tokenizer: The tokenizer.
        text: A file of text (plain, .gz, .xz, .zst, or .jsonl with a "text" a line), or a folder of them.
        more: More of them.
        out: The token file.
        threads: Threads that encode; as many as there are processors by default.
    """
    import time

    from rich.console import Console

    from onward.data.encode import encode_file as encode_texts
    from onward.tokenizer import Tokenizer
    from onward.tokenizer.progress import progress_bar

    began = time.perf_counter()
    loaded = Tokenizer.load(tokenizer)
    with progress_bar(Console(stderr=True)) as show:
        n_tokens = encode_texts(
            loaded, [text, *more], out, threads=threads, watch=lambda done, total: show("encoding", done, total)
        )
    print(f"{out}: {n_tokens:,} tokens, encoded in {time.perf_counter() - began:.1f} s")


@app.command
def decode(tokenizer: EncodedBy, /, *ids: int) -> None:
    """Show the text of ids.

    ```
    onward tokenizer decode runs/demo 54 83 80
    ```

    Args:
        tokenizer: The tokenizer.
        ids: The ids, one after the other.
    """
    from onward.tokenizer import Tokenizer

    print(Tokenizer.load(tokenizer).decode(ids))


@app.command
def show(tokenizer: EncodedBy, text: str, /) -> None:
    """Show a text in its tokens, coloured in turn: ids, bytes, and how each word was merged, step by step.

    The text of a special token becomes that token. Without colours (in a file, or with NO_COLOR set), bars part the
    tokens.

    ```
    onward tokenizer show runs/demo "What light through yonder window breaks?"
    onward tokenizer show gpt2/ "antidisestablishmentarianism" | less
    ```

    Args:
        tokenizer: The tokenizer.
        text: What to encode.
    """
    from rich.console import Console

    from onward.tokenizer import Tokenizer
    from onward.tokenizer.show import show

    show(Tokenizer.load(tokenizer), text, Console())


@app.command
def compare(tokenizer: EncodedBy, /, *more: EncodedBy, text: Path) -> None:
    """Set tokenizers side by side on a text: tokens, bytes per token, tokens per word.

    Single bytes are tokens of one byte, in rare scripts those for which nothing was merged. Unknown are characters or
    words that are not in the vocabulary. A word is what stands between white space.

    ```
    onward tokenizer compare runs/demo gpt2/ cl100k_base.tiktoken --text book.txt
    ```

    Args:
        tokenizer: A tokenizer.
        more: More of them.
        text: A UTF-8 file, or a folder of .txt and .txt.gz files.
    """
    from onward.data.text import read_documents
    from onward.tokenizer import Tokenizer
    from onward.tokenizer.measure import measure
    from onward.tokenizer.show import comparison

    texts = read_documents([text])
    loaded = {str(path): Tokenizer.load(path) for path in (tokenizer, *more)}
    print(comparison({name: (one, measure(one, texts)) for name, one in loaded.items()}))
