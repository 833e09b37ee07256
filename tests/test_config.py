from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest

from onward.config import from_dict, parse_assignments, read_json, read_toml, to_dict, write_json, write_toml
from onward.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    width: int
    kind: Literal["a", "b"] = "a"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    rate: float = 0.5
    on: bool = False
    names: list[str] = dataclasses.field(default_factory=list)
    minutes: float | None = None


def test_toml_and_json_round_trip(tmp_path: Path) -> None:
    config = Outer(inner=Inner(width=3, kind="b"), rate=1e-5, on=True, names=["x", "ü"])
    write_toml(tmp_path / "a.toml", to_dict(config))
    write_json(tmp_path / "a.json", to_dict(config))
    assert from_dict(Outer, read_toml(tmp_path / "a.toml"), "a.toml") == config
    assert from_dict(Outer, read_json(tmp_path / "a.json"), "a.json") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner": {"width": 3}, "rtae": 1.0}, r"f: unknown key 'rtae' \(did you mean 'rate'\?\)"),
        ({"inner": {"width": 3, "depth": 1}}, r"f: inner: unknown key 'depth' .*; known: kind, width"),
        ({"inner": {}}, "f: inner: the key 'width' is missing"),
        ({"inner": {"width": "3"}}, "f: inner: width must be of type int; got '3'"),
        ({"inner": {"width": True}}, "f: inner: width must be of type int; got True"),
        ({"inner": {"width": 3, "kind": "c"}}, "f: inner: kind must be one of a, b; got 'c'"),
        ({"inner": 3}, "f: inner must be a table"),
        ({"inner": {"width": 3}, "names": "x"}, "f: names must be a list"),
        ({"inner": {"width": 3}, "names": [1]}, "f: names must be of type str; got 1"),
        ({"inner": {"width": 3}, "minutes": "soon"}, "f: minutes must be of type float"),
    ],
)
def test_what_is_wrong_is_said(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(Outer, values, "f")


def test_an_int_serves_as_float() -> None:
    rate = from_dict(Outer, {"inner": {"width": 3}, "rate": 1}, "f").rate
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize("content", ["x = ", "x = 1\nx = 2", "\x00"])
def test_broken_toml_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.toml").write_text(content)
    with pytest.raises(ConfigError, match=r"a\.toml is not a TOML file"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000])
def test_broken_json_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ConfigError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"cannot read nowhere\.toml: No such file"):
        read_toml(Path("nowhere.toml"))


def test_assignments() -> None:
    assert parse_assignments(["a.b=1", "a.c=x", "d.e=0.5", "a.b=2"]) == {"a": {"b": 2, "c": "x"}, "d": {"e": 0.5}}


@pytest.mark.parametrize("text", ["a", "a=1", "a.b", "=", ".=1"])
def test_assignments_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--set takes"):
        parse_assignments([text])
