"""`onward show`."""

from __future__ import annotations

from pathlib import Path


def show(model: Path, text: str, /, *, out: Path | None = None) -> None:
    """Show the way of a text through a model: pieces, ids, shapes, what comes next at every position; and pictures.

    Drawn are the mask, the positions, the attention patterns of all heads, and the logit lens.

    ```
    onward show runs/demo "What light through yonder window breaks?"
    ```

    Args:
        model: A run folder, a checkpoint in it, or any model folder.
        text: What goes through it.
        out: The folder for the pictures; show/NAME if not given, NAME being the model's.
    """
    import onward
    from onward.inspection.trace import draw, report, trace

    loaded = onward.load(model)
    way = trace(loaded, text)
    print(report(way))
    print()
    for path in draw(way, loaded, out or Path("show") / model.resolve().name):
        print(f"drawn: {path}")
