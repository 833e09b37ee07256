"""Config dataclasses to and from TOML and JSON: an unknown key, a wrong type or a broken file is a ConfigError."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import tomli_w

from onward.atomic import atomic_file
from onward.errors import ConfigError

Config = TypeVar("Config")
_MOST_JSON_BYTES = 1 << 26


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing, or is not TOML; with the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def write_toml(path: Path, values: dict[str, Any]) -> None:
    """Write nested dictionaries as a TOML file, atomically; what is None is left out."""
    with atomic_file(path) as temporary:
        temporary.write_text(tomli_w.dumps(_without_none(values)), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ConfigError: the file is missing, is not JSON, or holds something else; with the line.
    """
    try:
        if (size := path.stat().st_size) > _MOST_JSON_BYTES:
            raise ConfigError(f"{path} has {size:,} bytes; no config has more than {_MOST_JSON_BYTES:,}")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a JSON file: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a JSON object, not {type(values).__name__}")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write nested dictionaries as a JSON file, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a config dataclass into nested dictionaries."""
    return dataclasses.asdict(config)


def from_dict(kind: type[Config], values: dict[str, Any], where: str) -> Config:
    """Make a config dataclass of `kind` from nested dictionaries; `where` begins every error message.

    Raises:
        ConfigError: a key that `kind` does not have, a missing key, or a value of the wrong type.

    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Size:
    ...     width: int
    >>> from_dict(Size, {"width": 3}, "size.toml")
    Size(width=3)
    >>> from_dict(Size, {"widht": 3}, "size.toml")
    Traceback (most recent call last):
    onward.errors.ConfigError: size.toml: unknown key 'widht' (did you mean 'width'?); known: width
    """
    values = check(kind, values, where)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: the key {field.name!r} is missing")
    return kind(**values)


def check(kind: type[Any], values: dict[str, Any], where: str, *, partial: bool = False) -> dict[str, Any]:
    """Return `values`, each as the field of `kind` wants it; unlike with `from_dict`, some fields may be missing.

    Args:
        kind: a config dataclass.
        values: its fields by name.
        where: the beginning of every error message.
        partial: whether fields may be missing in the tables within, too, which then stay dictionaries.

    Raises:
        ConfigError: a key that `kind` does not have, or a value of the wrong type.
    """
    check_keys(kind, values, where)
    annotations = typing.get_type_hints(kind)
    checked = {}
    for key, value in values.items():
        if partial and isinstance(value, dict) and dataclasses.is_dataclass(annotations[key]):
            checked[key] = check(typing.cast("type", annotations[key]), value, f"{where}: {key}", partial=True)
        else:
            checked[key] = _checked(value, annotations[key], f"{where}: {key}")
    return checked


def check_keys(kind: type[Any], values: dict[str, Any], where: str) -> None:
    """Refuse a key that `kind` does not have, with the one that was probably meant.

    Raises:
        ConfigError: with all the keys that there are.
    """
    known = sorted(field.name for field in dataclasses.fields(kind))
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(f"{where}: unknown key {key!r}{hint}; known: {', '.join(known)}")


def check_format(values: dict[str, Any], version: int, where: str) -> None:
    """Refuse a file whose `format` is not `version`.

    Raises:
        ConfigError: with both versions.
    """
    found = values.get("format")
    if found != version:
        raise ConfigError(
            f"{where} has format {found}; this onward reads format {version}: use the onward that wrote it"
        )


def fill_zeros(config: Any, **defaults: int) -> None:
    """Give each field that is 0 its default, which depends on other fields; for a frozen config's `__post_init__`."""
    for name, default in defaults.items():
        if getattr(config, name) == 0:
            object.__setattr__(config, name, default)


def parse_assignments(assignments: list[str]) -> dict[str, dict[str, Any]]:
    """Parse `section.key=value` strings, as given to `--set`; the value is read as TOML, else as a plain string.

    >>> parse_assignments(["model.n_layers=6", "model.norm=rms"])
    {'model': {'n_layers': 6, 'norm': 'rms'}}
    """
    parsed: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(f"--set takes section.key=value, such as model.n_layers=6; got {assignment!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        parsed.setdefault(section, {})[key] = value
    return parsed


def _checked(value: Any, annotation: Any, where: str) -> Any:
    """Return `value` as `annotation` wants it, or raise ConfigError."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _checked(value, inner, where)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{where} must be one of {', '.join(map(str, arguments))}; got {value!r}")
        return value
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list; got {value!r}")
        return [_checked(item, arguments[0], where) for item in value]
    if dataclasses.is_dataclass(annotation):
        if isinstance(value, typing.cast("type", annotation)):
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table of keys; got {value!r}")
        return from_dict(typing.cast("type", annotation), value, where)
    if annotation is float and type(value) is int:
        return float(value)
    if type(value) is not annotation:  # bool is an int to Python, but not to a person who writes a config
        raise ConfigError(f"{where} must be of type {annotation.__name__}; got {value!r}")
    return value


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }
