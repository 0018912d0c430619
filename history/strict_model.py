"""Strict types for what people write; of a bad value a message says the key, the problem, the nearest key."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, TypeGuard, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from history.jsonl import one_line
from history.strict_yaml import BadYaml, Value, load_yaml

Model = TypeVar("Model")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
RuleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}(/[a-z0-9][a-z0-9-]{0,63})?$")]
"""An oracle, or one of its rules: ORACLE/RULE."""


class Strict(BaseModel):
    """Frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_model(path: Path, parse: Callable[[Value], Model]) -> Model:
    """What a file holds. `parse` raises ValidationError. Raises BadYaml with file, key and problem."""
    try:
        return parse(load_yaml(path))
    except OSError as error:
        raise BadYaml(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BadYaml(f"{path}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """One line: the key of the first problem, what it is, and how many more there are."""
    first = error.errors()[0]
    location = first["loc"]
    where = ".".join(str(part) for part in location)
    what = first["msg"]
    if first["type"] == "extra_forbidden":
        what = unknown_key(str(location[-1]), _valid_keys(error.title, location[:-1]))
    more = error.error_count() - 1
    prefix = f"{where}: " if where else ""
    return one_line(f"{prefix}{what}") + (f" (and {more} more)" if more else "")


def unknown_key(key: str, valid: Iterable[str]) -> str:
    """What is said of a key that does not exist: the nearest valid one, or all of them when none is near."""
    known = sorted(valid)
    if near := get_close_matches(key, known, n=1):
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known are {', '.join(known)}" if known else "unknown key; remove it"


def _valid_keys(title: str, location: Sequence[int | str]) -> set[str]:
    """The keys of the model at a location below the model of this name; none when that is not found."""
    at: list[object] = [model for model in _subclasses(Strict) if model.__name__ == title]
    for part in location:
        below = [child for each in at for child in _children(each, part)]
        # A part that leads nowhere is the tag of a union: the alternative that has it as a literal.
        at = below or [each for each in at if _has_tag(each, part)] or at
    return {key for each in at if _is_model(each) for key in each.model_fields}


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in model.__subclasses__():
        yield below
        yield from _subclasses(below)


def _is_model(given: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(given, type) and issubclass(given, BaseModel)


def _children(given: object, part: int | str) -> Iterator[object]:
    """The types of what lies at a key or an index of a value of this type."""
    if _is_model(given):
        if part in given.model_fields:
            yield from _alternatives(given.model_fields[str(part)].annotation)
    elif isinstance(get_origin(given), type):
        for argument in get_args(given)[-2:] if isinstance(part, int) else get_args(given)[-1:]:
            yield from _alternatives(argument)


def _alternatives(annotation: object) -> Iterator[object]:
    """The members of a union; any other type itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation


def _has_tag(given: object, tag: int | str) -> bool:
    return _is_model(given) and any(
        get_origin(field.annotation) is Literal and tag in get_args(field.annotation)
        for field in given.model_fields.values()
    )
