"""All kinds of fault from outside, and the injector that applies them to a target.

A kind is registered by its module in `chaos.outside.faults`, whose `FAULTS` has it; other packages bring
theirs by the entry point `kvchaos.faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

import msgspec

from chaos.outside import faults
from chaos.outside.injector import (
    ActiveFault,
    DueInjection,
    ForeignFaultFailed,
    InjectionRefused,
    OutsideKind,
)
from history.protocol import extensions
from history.protocol.evidence import FIRINGS, Evidence
from history.protocol.extensions import OWN, ForeignCode, register_units
from history.protocol.outside import REVERTED, OutsideFiring

Result = TypeVar("Result")
KINDS: dict[str, OutsideKind] = {}
"""Kinds of faults by name."""
ORIGINS: dict[str, str] = {}
"""The package of each kind, by name."""


def register(kind: OutsideKind, origin: str) -> None:
    """Add a kind. Raises ValueError when its name is taken, or a parameter is missing that all have."""
    if kind.name in KINDS:
        raise ValueError(f"there are two faults {kind.name}")
    for name in ("trigger_on", "duration_s"):
        if name not in kind.parameters:
            raise ValueError(f"fault {kind.name}: it needs the parameter {name}")
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
        kind = KINDS[injection.kind]
        if ORIGINS[kind.name] == OWN:
            return kind.inject(injection, self._handle)
        return ForeignActiveFault(kind, lambda: kind.inject(injection, self._handle))


class ForeignActiveFault:
    """A fault of another package. InjectionRefused may come of it, and ForeignFaultFailed for all else."""

    def __init__(self, kind: OutsideKind, prepare: Callable[[], ActiveFault]) -> None:
        self._kind = kind
        self._fault = self._guarded(prepare)

    def apply(self) -> None:
        """Apply the fault. Raises InjectionRefused."""
        self._guarded(self._fault.apply)

    def verify(self) -> OutsideFiring | None:
        """The evidence that it took effect."""
        return self._guarded(lambda: _checked(self._fault.verify(), self._kind.firing))

    def revert(self) -> None:
        """Begin to revert it."""
        self._guarded(self._fault.revert)

    def reverted(self) -> Evidence | None:
        """The evidence that it is reverted."""
        return self._guarded(lambda: _checked(self._fault.reverted(), self._kind.reverted))

    def _guarded(self, call: Callable[[], Result]) -> Result:
        refused: InjectionRefused | None = None
        with ForeignCode() as code:
            try:
                return call()
            except InjectionRefused as refusal:
                refused = refusal
        if refused is not None:
            raise refused
        raise ForeignFaultFailed(f"{self._kind.name} of {ORIGINS[self._kind.name]} raised {code.error}")


def _checked(given: Result | None, kind: type[Evidence]) -> Result | None:
    """Evidence that the journal can hold. Raises msgspec.ValidationError."""
    if given is not None:
        msgspec.convert(msgspec.to_builtins(given), kind)
    return given
