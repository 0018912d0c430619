"""Strict types for what people write, and the message about what does not fit them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from history.jsonl import one_line
from history.model_keys import valid_keys
from history.protocol.nearest_name import nearest_name
from history.strict_yaml import BadYaml, Value, load_yaml

Model = TypeVar("Model")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
RuleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}(/[a-z0-9][a-z0-9-]{0,63})?$")]
"""An oracle, or one of its rules: ORACLE/RULE."""


class Strict(BaseModel):
    """Frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


MESSAGES = {"missing": "is required and missing", "model_type": "must be keys with values"}
"""Own texts of problems, by pydantic's name of each."""


def read_model(path: Path, parse: Callable[[Value], Model]) -> Model:
    """What a file holds. `parse` raises ValidationError. Raises BadYaml with file, key and problem."""
    try:
        return parse(load_yaml(path))
    except OSError as error:
        raise BadYaml(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BadYaml(f"{path}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """One line: the key of the first problem, what it is, and how many more there are.

    An unknown key comes first: it is often a typing error that also explains a missing key.
    """
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    location = first["loc"]
    where = ".".join(str(part) for part in location)
    what = MESSAGES.get(first["type"], first["msg"])
    if first["type"] == "extra_forbidden":
        valid = sorted(valid_keys(Strict, error.title, location[:-1]))
        what = f"unknown key; {nearest_name(str(location[-1]), valid)}"
    more = error.error_count() - 1
    prefix = f"{where}: " if where else ""
    return one_line(f"{prefix}{what}") + (f" (and {more} more)" if more else "")
