"""The checker of annotations while the tests run: shapes and types, an int serving as a float as it does in Python."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
