"""The base of everything that people write."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from history.lines import one_line

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
RuleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}(/[a-z0-9][a-z0-9-]{0,63})?$")]
"""An oracle, or one of its rules: ORACLE/RULE."""


class Strict(BaseModel):
    """Frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def first_problem(error: ValidationError) -> str:
    """One line: the key of the first problem, what it is, and how many more there are."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
    more = error.error_count() - 1
    prefix = f"{where}: " if where else ""
    return one_line(f"{prefix}{what}") + (f" (and {more} more)" if more else "")
