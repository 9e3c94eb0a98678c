"""Settings that are a dataclass: written as TOML, changed by name, checked by type."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from imagenets.errors import MissingError, UsageError

S = TypeVar("S")

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class _Text(str):
    """A value that is still to be read, since its type was not known where it was given."""


class _UnfitError(Exception):
    """A value is not of the type that a setting has."""


def to_toml(settings: Any, without: Collection[str] = ()) -> str:
    """Writes settings as TOML: plain values, then tables, then lists of tables.

    A writer of our own, since settings hold nothing but numbers, text, lists of these and, one
    level deep, dataclasses.

    Args:
        settings: A dataclass.
        without: Names that are left out.
    """
    plain, tables = [], []
    for field in fields(settings):
        if field.name in without:
            continue
        value = getattr(settings, field.name)
        if is_dataclass(value):
            tables.append(f"\n[{field.name}]\n{to_toml(value)}")
        elif isinstance(value, tuple) and value and all(map(is_dataclass, value)):
            tables += [f"\n[[{field.name}]]\n{to_toml(row)}" for row in value]
        else:
            plain.append(f"{field.name} = {_toml(value)}\n")
    return "".join(plain + tables)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a file of settings.

    Raises:
        MissingError: It is not there.
        UsageError: It is not TOML.
    """
    if not path.is_file():
        raise MissingError(f"{path}: there is no such file of settings.")
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UsageError(
            f"{path}: not TOML ({error}). `imagenets config --preset sample` shows how it looks."
        ) from error


def names(settings: Any, before: str = "") -> Iterator[str]:
    """The names of all settings, such as `batch` and `pretrain.base_rate`."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from names(value, f"{before}{field.name}.")
        else:
            yield before + field.name


def leaves(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables, by names such as `pretrain.base_rate`."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def changed(settings: S, name: str, value: Any, where: str) -> S:
    """Changes one setting.

    Args:
        settings: A dataclass; rows of its lists are called by their number, from 0.
        name: Such as `batch`, `pretrain.base_rate` or `views.0.size`.
        value: As TOML has it.
        where: Where it was given; begins the message of an error.

    Raises:
        UsageError: There is no such setting, or the value is not of its type.
    """
    try:
        found: S = _put(settings, type(settings), name.split("."), value)
    except _UnfitError as error:
        raise UsageError(f"{where}: {name} is {error}.") from None
    except LookupError:
        raise UsageError(
            f"{where}: there is no setting {name!r}. {_near(settings, name)}"
        ) from None
    return found


def changed_by_file(settings: S, path: Path) -> tuple[S, dict[str, Any]]:
    """Changes what a file of settings holds, and gives that by name as well.

    Raises:
        MissingError: It is not there.
        UsageError: It is not TOML, has a setting that there is not, or a value of another type.
    """
    given = dict(leaves(read_toml(path)))
    for name, value in given.items():
        settings = changed(settings, name, value, str(path))
    return settings, given


def changed_by_text(settings: S, assignment: str, option: str = "--set") -> tuple[S, str]:
    """Changes one setting as the command line says, and gives its name as well.

    Args:
        settings: A dataclass.
        assignment: Such as `pretrain.base_rate=0.3`; as in TOML, or text without quotes.
        option: The option that it was given with.

    Raises:
        UsageError: There is no such setting, or the value is not of its type.
    """
    name, equals, text = assignment.partition("=")
    name = name.strip()
    where = f"{option} {assignment}"
    if not equals or not name:
        raise UsageError(f"{where}: give NAME=VALUE, such as batch=64.")
    return changed(settings, name, _Text(text.strip()), where), name


def _put(value: Any, kind: Any, parts: list[str], new: Any) -> Any:
    """A value of a kind with a part of it changed; all of it where no parts are left."""
    if not parts:
        return _fitting(kind, _read(kind, new) if isinstance(new, _Text) else new)
    first, *rest = parts
    if is_dataclass(value) and not isinstance(value, type):
        inner = get_type_hints(type(value))[first]
        return replace(value, **{first: _put(getattr(value, first), inner, rest, new)})
    if isinstance(value, tuple) and first.isdecimal():
        i = int(first)
        row = _put(value[i], _kinds(kind, len(value))[i], rest, new)
        return (*value[:i], row, *value[i + 1 :])
    raise LookupError(first)


def _read(kind: Any, text: str) -> Any:
    """What a text says, as TOML; as it is, where it stands for text and has no quotes."""
    is_text = kind is str or get_origin(kind) is Literal
    if is_text and not text.startswith(('"', "'")):
        return str(text)
    try:
        read = tomllib.loads(f"value = {text}")
    except ValueError:
        read = {}
    if set(read) != {"value"}:
        raise _UnfitError(_words(kind))
    return read["value"]


def _fitting(kind: Any, value: Any) -> Any:
    """A value of a type, from what TOML has for it: numbers without a point may be floats."""
    if get_origin(kind) is Literal:
        fits = value in get_args(kind)
    elif get_origin(kind) is tuple:
        return _fitting_rows(kind, value)
    elif is_dataclass(kind):
        return _fitting_table(kind, value)
    elif kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    else:
        fits = type(value) is kind and kind is not float
    if not fits:
        raise _UnfitError(_words(kind))
    return value


def _fitting_rows(kind: Any, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _UnfitError(_words(kind))
    kinds = _kinds(kind, len(value))
    if not value or len(kinds) != len(value):
        raise _UnfitError(_words(kind))
    return tuple(_fitting(one, row) for one, row in zip(kinds, value, strict=True))


def _fitting_table(kind: Any, value: Any) -> Any:
    """A new dataclass from a table; what the table lacks is as by default."""
    if not isinstance(value, Mapping):
        raise _UnfitError(_words(kind))
    hints = get_type_hints(kind)
    unknown = [name for name in value if name not in hints]
    if unknown:
        near = difflib.get_close_matches(unknown[0], hints, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise _UnfitError(f"{_words(kind)}, and none of these is {unknown[0]!r}{hint}")
    made = {}
    for name, one in value.items():
        try:
            made[name] = _fitting(hints[name], one)
        except _UnfitError as error:
            raise _UnfitError(f"{_words(kind)}, and {name} is {error}") from None
    needed = [one.name for one in fields(kind) if one.default is MISSING and one.name not in made]
    if needed:
        raise _UnfitError(f"{_words(kind)}, with a value for {', '.join(needed)}")
    return kind(**made)


def _kinds(kind: Any, count: int) -> tuple[Any, ...]:
    """The types of so many rows of `tuple[A, B]` or `tuple[A, ...]`."""
    inner = get_args(kind)
    return inner[:1] * count if inner[-1] is Ellipsis else inner


def _words(kind: Any) -> str:
    """What a type is called in a message."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} times "
        return f"a list, {count}{_words(inner[0])}"
    if is_dataclass(kind):
        return f"a table with some of {', '.join(field.name for field in fields(kind))}"
    return _WORDS[kind]


def _near(settings: Any, name: str) -> str:
    """The settings that may have been meant."""
    known = list(names(settings))
    last = name.rpartition(".")[2]
    near = [one for one in known if one.rpartition(".")[2] == last]
    near = near or difflib.get_close_matches(name, known, 1, 0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Choose among {', '.join(known)}."
