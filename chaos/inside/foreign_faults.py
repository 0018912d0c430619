"""Faults of other packages inside the server: what their code raises is journaled, and ends nothing.

The lines of an injection are written once its code has returned. A fault that raised has not fired: what it
set in the injection point is set back, and its journal has one line with package, fault and error. The judge
finds such a run unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from chaos.inside import inside_kinds
from chaos.inside.trigger_decisions import InjectedFailure, Injection
from history.protocol.evidence import FIRINGS, Evidence, Firing, Note, Refused, note_in
from history.protocol.extensions import OWN, ForeignCode

MAX_DETAIL = 300
"""Characters of a message, so that a journal does not fill with errors."""


def is_foreign(kind: str) -> bool:
    """Whether another package has this kind of fault."""
    return inside_kinds.ORIGINS[kind] != OWN


def raised(kind: str, error: str) -> Refused:
    """The journal line of a fault whose code raised this error."""
    detail = f"{kind} of {inside_kinds.ORIGINS[kind]} raised {error}"
    return Refused(reason="fault-raised", detail=detail[:MAX_DETAIL])


class ForeignInjection(Injection):
    """An injection of another package's fault. It may raise InjectedFailure once it has called `fired`."""

    _pending: list[tuple[Evidence | Note, str | None]] | None = None
    """What the fault reported while its code runs, each with its request; None before and after."""

    def apply(self, inject: Callable[[Injection, Any], None], point: object) -> None:
        """Have the fault change the injection point; undo the change and refuse when its code raises."""
        before = dict(vars(point))
        pending: list[tuple[Evidence | Note, str | None]] = []
        self._pending = pending
        intended: InjectedFailure | None = None
        with ForeignCode() as code:
            try:
                inject(self, point)
            except InjectedFailure as failure:
                if not any(isinstance(evidence, Firing) for evidence, _ in pending):
                    raise
                intended = failure
        self._pending = None
        if code.error is not None:
            vars(point).update(before)
            super()._write(raised(self.kind, code.error))
            return
        for evidence, request in pending:
            super()._write(evidence, request)
        if intended is not None:
            raise intended

    def _write(self, evidence: Evidence | Note, request: str | None = None) -> None:
        if self._pending is not None:
            self._check(evidence)
            self._pending.append((evidence, request))
            return
        # The injection point reports it, after the fault's code has returned.
        with ForeignCode() as code:
            self._check(evidence)
        super()._write(evidence if code.error is None else raised(self.kind, code.error), request)

    def _check(self, evidence: Evidence | Note) -> None:
        """Raises msgspec.ValidationError or TypeError: no line may make the journal unreadable."""
        stored = msgspec.to_builtins(evidence)
        if isinstance(evidence, Note):
            note_in(stored)
        else:
            msgspec.convert(stored, Refused if isinstance(evidence, Refused) else FIRINGS[self.kind])
