"""`onward tokenizer`."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

app = App(name="tokenizer", help="Look at what a tokenizer makes of a text.")


@app.command
def encode(tokenizer: Path, text: str, /) -> None:
    """Show the pieces of a text and their ids.

    ```
    onward tokenizer encode runs/demo "What light through yonder window breaks?"
    ```

    Args:
        tokenizer: A run folder, a tokenizer.json, or a folder with GPT-2's encoder.json and vocab.bpe.
        text: What to encode.
    """
    from onward.tokenizer import Tokenizer

    loaded = Tokenizer.load(tokenizer)
    ids = loaded.encode(text, allowed_special="all")
    for token, piece in zip(ids, loaded.pieces(ids), strict=True):
        print(f"{token:>7}  {piece!r}")
    print(f"{len(ids)} tokens for {len(text.encode())} bytes")
