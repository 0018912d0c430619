"""The keys that a pydantic model has at a location, as a validation error names locations."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel


def valid_keys(base: type[BaseModel], title: str, location: Sequence[int | str]) -> set[str]:
    """The keys at a location below the model of this name, one of `base`; none when that is not found."""
    at: list[object] = [model for model in _subclasses(base) if model.__name__ == title]
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
