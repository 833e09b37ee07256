"""Writes csrc/unicode_runs.inc: the class of every character, as runs of equal class.

    pip install regex==2025.7.34 && python csrc/generate_unicode.py

That release of `regex` carries Unicode 16.0, as tiktoken 0.14 and tokenizers 0.23 do; Python's own tables and
newer releases of `regex` differ from it by thousands of characters, so the release is checked.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import regex

REGEX_RELEASE = "2025.7.34"
LAST_CODE_POINT = 0x10FFFF
LINE_LENGTH = 100

# In the order of onward::CharClass. The first that matches wins; White_Space overlaps none of the others.
CLASSES = (
    ("Other", None),
    ("Upper", r"[\p{Lu}\p{Lt}]"),
    ("Lower", r"\p{Ll}"),
    ("Letter", r"[\p{Lm}\p{Lo}]"),
    ("Mark", r"\p{M}"),
    ("Number", r"\p{N}"),
    ("Space", r"\s"),
)


def class_of_every_character() -> bytes:
    """The index into CLASSES of each code point; surrogates, which are no characters, are Other."""
    classes = bytearray(LAST_CODE_POINT + 1)
    for index, (_, pattern) in enumerate(CLASSES):
        if pattern is None:
            continue
        matcher = regex.compile(pattern)
        for code_point in range(LAST_CODE_POINT + 1):
            if matcher.fullmatch(chr(code_point)):
                classes[code_point] = index
    return bytes(classes)


def main() -> None:
    """Write the runs, each as length * 8 + class, beside this script."""
    from importlib.metadata import version

    if version("regex") != REGEX_RELEASE:
        raise SystemExit(f"regex {version('regex')} found: install regex=={REGEX_RELEASE}, which has Unicode 16.0")
    runs = [(index, len(list(group))) for index, group in itertools.groupby(class_of_every_character())]
    lines, line = [], ""
    for index, length in runs:
        item = f"{length * 8 + index},"
        if len(line) + len(item) > LINE_LENGTH:
            lines.append(line)
            line = ""
        line += item
    lines.append(line)
    header = "// Written by generate_unicode.py; Unicode 16.0. Each number is 8 * (length of the run) + class.\n"
    Path(__file__).with_name("unicode_runs.inc").write_text(header + "\n".join(lines) + "\n")
    print(f"{len(runs)} runs of {len(CLASSES)} classes")


if __name__ == "__main__":
    main()
