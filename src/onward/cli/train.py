"""`onward train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from onward.training.options import TrainOptions


def train(
    *texts: Path, options: Annotated[TrainOptions | None, Parameter(name="*", show_default=False)] = None
) -> None:
    """Train a tokenizer and a model on text, from nothing; or go on from a model, on text or on conversations.

    Without texts, the text is the Shakespeare that comes with onward.

    ```
    onward train
    onward train book.txt --minutes 10
    onward train book.txt --resume
    onward train stories/ --size base --steps 2000 --out runs/stories
    onward train --from runs/book other.txt --minutes 5 --out runs/tuned
    onward train --from SmolLM2.gguf chats.jsonl --lora 8
    ```

    Args:
        texts: UTF-8 files, and folders of .txt and .txt.gz files. Each file is a document, or several where it
            separates them by `<|endoftext|>`. With --from, also conversations: JSON Lines of
            `{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}`, of which the
            replies are learned.
        options: everything else.
    """
    from onward.training.train import run_training

    run_training(texts, options or TrainOptions())
