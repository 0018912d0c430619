"""A fault from outside of another package whose code raises ends the run with one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from chaos.outside import outside_kinds
from chaos.outside.injector import (
    LOCAL,
    SERVER,
    ActiveFault,
    DueInjection,
    ForeignFaultFailed,
    InjectionRefused,
)
from chaos.outside.outside_faults import InvocationCounts, OutsideFaults, OutsideJournal
from chaos.outside.outside_kinds import KINDS, ORIGINS, TargetInjector
from history.protocol.evidence import Evidence
from history.protocol.outside import Continued, OutsideFiring, Paused
from history.reader import read_faults
from history.scenario import FaultSpec, Trigger
from tests.support.acme_units import ORIGIN

KIND = "pause"
PAUSED = Paused(signal="SIGSTOP")
NUMBER: Any = 3
BEFORE, AFTER = InvocationCounts(0, 0, 0.0), InvocationCounts(1, 1, 1.0)


@dataclass
class AcmeFault:
    """A fault of another package; `fails` names the method that raises."""

    fails: str = ""
    shows: Any = PAUSED

    def apply(self) -> None:
        self._call("apply")

    def verify(self) -> OutsideFiring | None:
        self._call("verify")
        found: OutsideFiring | None = self.shows
        return found

    def revert(self) -> None:
        self._call("revert")

    def reverted(self) -> Evidence | None:
        self._call("reverted")
        return Continued(processes=1)

    def _call(self, name: str) -> None:
        if name == self.fails:
            raise KeyError("acme is closed")
        if self.fails == f"{name} refuses":
            raise InjectionRefused("not now")


def bring(monkeypatch: pytest.MonkeyPatch, inject: Callable[[DueInjection, Any], ActiveFault]) -> None:
    """Have another package bring this kind of fault."""
    monkeypatch.setitem(KINDS, KIND, replace(KINDS[KIND], inject=inject))
    monkeypatch.setitem(ORIGINS, KIND, ORIGIN)


def whole_injection(run_dir: Path) -> None:
    """Arm it, apply it at the first answered request, revert it."""
    control = run_dir / "control"
    control.mkdir()
    faults = OutsideFaults([TargetInjector(SERVER, None, LOCAL)], OutsideJournal(control))
    try:
        faults.arm(5, [FaultSpec(id="acme", kind=KIND, trigger=Trigger(nth=(0,)))])
        faults.tick(BEFORE)
        faults.tick(AFTER)
        faults.revert()
        assert faults.healed()
    finally:
        faults.close()


@pytest.mark.parametrize("method", ["apply", "verify", "revert", "reverted"])
def test_foreign_outside_fault_that_raises_ends_the_run_with_fault_and_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    bring(monkeypatch, lambda injection, handle: AcmeFault(method))
    with pytest.raises(ForeignFaultFailed) as failed:
        whole_injection(tmp_path)
    for part in (KIND, ORIGIN, "KeyError", "acme is closed"):
        assert part in str(failed.value)
    events = [line.event for line in read_faults(tmp_path)]
    assert ("fired" in events) == (method in ("revert", "reverted"))
    assert "healed" not in events


def test_foreign_outside_fault_that_cannot_be_prepared_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def inject(injection: DueInjection, handle: Any) -> ActiveFault:
        raise KeyError("acme is closed")

    bring(monkeypatch, inject)
    with pytest.raises(ForeignFaultFailed, match="acme is closed"):
        whole_injection(tmp_path)


@pytest.mark.parametrize("shows", [Continued(processes=1), "evidence", Paused(signal=NUMBER)])
def test_foreign_evidence_of_another_type_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shows: object
) -> None:
    bring(monkeypatch, lambda injection, handle: AcmeFault(shows=shows))
    with pytest.raises(ForeignFaultFailed):
        whole_injection(tmp_path)
    assert "fired" not in [line.event for line in read_faults(tmp_path)]


def test_foreign_outside_fault_may_refuse_an_injection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bring(monkeypatch, lambda injection, handle: AcmeFault("apply refuses"))
    whole_injection(tmp_path)
    assert [line.event for line in read_faults(tmp_path)] == ["armed", "refused", "healed"]


def test_foreign_outside_fault_that_works_is_journaled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bring(monkeypatch, lambda injection, handle: AcmeFault())
    whole_injection(tmp_path)
    assert [line.event for line in read_faults(tmp_path)] == ["armed", "fired", "note", "healed"]


@pytest.mark.parametrize("parameter", ["trigger_on", "duration_s"])
def test_outside_fault_without_a_parameter_of_all_is_not_registered(parameter: str) -> None:
    parameters = {name: each for name, each in KINDS[KIND].parameters.items() if name != parameter}
    with pytest.raises(ValueError, match=parameter):
        outside_kinds.register(replace(KINDS[KIND], name="acme", parameters=parameters), ORIGIN)
    assert "acme" not in KINDS
