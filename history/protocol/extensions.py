"""Units that other packages bring: faults, rules and workloads, found by entry points.

A unit that cannot be loaded is a line in `broken`; a command that would use it ends with that line. vLLM's
interpreter uses this module too: the suite puts packages with faults on its path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import TracebackType
from typing import TypeVar

FAULTS = "kvchaos.faults"
RULES = "kvchaos.rules"
WORKLOADS = "kvchaos.workloads"
OWN = "kvchaos"
"""The origin of what the suite itself has."""

broken: list[str] = []
"""Why units of other packages cannot be used, a line each."""
UnitType = TypeVar("UnitType")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of another package."""

    value: object
    reference: str
    """MODULE:NAME of its entry point."""
    origin: str
    """The package and its version."""


class ForeignCode:
    """Runs code of another package: whatever it raises is kept, and nothing escapes but an interruption.

    What such code may raise cannot be listed, and no command may end with its traceback.
    """

    def __init__(self) -> None:
        self.error: str | None = None
        """The error in one line."""

    def __enter__(self) -> ForeignCode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.error = " ".join(f"{type(error).__name__}: {error}".split())
        return True


@cache
def units(group: str) -> Sequence[Unit]:
    """The units of a group, by the names of their entry points. An entry point names one, or a tuple."""
    found: list[Unit] = []
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        origin = _origin(point)
        with ForeignCode() as code:
            loaded = point.load()
            values = loaded if isinstance(loaded, tuple) else (loaded,)
            found += [Unit(value, point.value, origin) for value in values]
        if code.error is not None:
            broken.append(f"{group}: {point.name} of {origin} cannot be loaded: {code.error}")
    return found


def register_units(group: str, kind: type[UnitType], register: Callable[[UnitType, str], None]) -> None:
    """Register the units of a group that are of this type, each with its origin."""
    for unit in units(group):
        if isinstance(unit.value, kind):
            try:
                register(unit.value, unit.origin)
            except ValueError as error:
                broken.append(f"{group}: {unit.reference} of {unit.origin}: {error}")


def refuse_others(group: str, *kinds: type) -> None:
    """Note the units of a group that are of none of these types."""
    names = " or ".join(kind.__name__ for kind in kinds)
    for unit in units(group):
        if not isinstance(unit.value, kinds):
            what = type(unit.value).__name__
            broken.append(f"{group}: {unit.reference} of {unit.origin} is a {what}, and must be a {names}")


def _origin(point: EntryPoint) -> str:
    if point.dist is None:
        return "an unknown package"
    return f"{point.dist.name} {point.dist.version}"
