"""All kinds of fault from outside, and the injector that applies them to a target.

A kind is registered by its module in `chaos.outside.faults`, whose `FAULTS` has it; other packages bring
theirs by the entry point `kvchaos.faults`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from chaos.outside import faults
from chaos.outside.injector import ActiveFault, DueInjection, OutsideKind
from history.protocol import extensions
from history.protocol.evidence import FIRINGS
from history.protocol.extensions import OWN, register_units
from history.protocol.outside import REVERTED

KINDS: dict[str, OutsideKind] = {}
"""By name."""
ORIGINS: dict[str, str] = {}
"""The package of each kind, by name."""


def register(kind: OutsideKind, origin: str) -> None:
    """Add a kind. Raises ValueError when its name is taken."""
    if kind.name in KINDS:
        raise ValueError(f"there are two faults {kind.name}")
    KINDS[kind.name], ORIGINS[kind.name] = kind, origin
    FIRINGS[kind.name], REVERTED[kind.name] = kind.firing, kind.reverted


for _module in iter_modules(faults.__path__, f"{faults.__name__}."):
    for _kind in import_module(_module.name).FAULTS:
        register(_kind, OWN)
register_units(extensions.FAULTS, OutsideKind, register)


def kinds_of(target: str) -> Iterator[str]:
    """The kinds of fault on a target."""
    return (kind.name for kind in KINDS.values() if kind.target == target)


class TargetInjector:
    """Applies the faults of one target."""

    def __init__(self, target: str, handle: Any, stack: str | None = None) -> None:
        """`handle` is what the faults of the target get; `stack` leaves out those without its support."""
        self.kinds = tuple(name for name in kinds_of(target) if stack is None or stack in KINDS[name].stacks)
        self._handle = handle

    def unsupported_reason(self, kind: str) -> str | None:
        """None: this target supports all kinds that are registered for it."""
        return None

    def prepare(self, injection: DueInjection) -> ActiveFault:
        """Prepare an injection of a kind of this target."""
        return KINDS[injection.kind].inject(injection, self._handle)
