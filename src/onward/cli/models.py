"""`onward models`."""

from __future__ import annotations


def models() -> None:
    """List the sizes by name, with the form that each has, as `onward train --size` takes them.

    A size without a vocabulary gets one by the text that it is trained on, each token at so many parameters.

    ```
    onward models
    onward train book.txt --size llama-mini
    ```
    """
    from onward.library import size_table

    print(size_table())
