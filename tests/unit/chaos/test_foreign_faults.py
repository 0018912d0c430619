"""A fault of another package whose code raises inside the server ends nothing and never counts as fired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.inside import contract_cases, inside_kinds
from chaos.inside.fault_kind import FaultKind
from chaos.inside.faults.manager_calls import LookupMissed
from chaos.inside.foreign_faults import MAX_DETAIL
from chaos.inside.injection_points import COPY, LOOKUP, MANAGER_CALL, CopyRequest, FoundBlock
from chaos.inside.inside_kinds import KINDS, ORIGINS
from chaos.inside.trigger_decisions import InjectedFailure, Injection
from history.protocol.evidence import CopyDelayed, Firing, RefusalReason
from history.records import FaultRecord
from tests.support.acme_units import ORIGIN
from tests.support.control_directory import Room, entry

KIND = "lookup_miss"
EVIDENCE = LookupMissed(key="ab", hit_blocks=1, answered_blocks=0)
Inject = Callable[[Injection, Any], None]


class OtherEvidence(Firing, frozen=True):
    colour: object


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Room(tmp_path / "control") as made:
        yield made


def bring(monkeypatch: pytest.MonkeyPatch, kind: FaultKind) -> None:
    """Have another package bring this kind of fault."""
    monkeypatch.setitem(KINDS, kind.name, kind)
    monkeypatch.setitem(ORIGINS, kind.name, ORIGIN)


def block() -> FoundBlock:
    return FoundBlock(bytes(32), 1, 0, list)


def _raise(injection: Injection, point: FoundBlock) -> None:
    point.answer = "miss"
    raise OSError("acme\nis closed")


def _fire_and_raise(injection: Injection, point: FoundBlock) -> None:
    injection.fired(EVIDENCE)
    _raise(injection, point)


def _refuse_and_raise(injection: Injection, point: FoundBlock) -> None:
    injection.refused("nothing-to-damage")
    _raise(injection, point)


def _fail_without_evidence(injection: Injection, point: FoundBlock) -> None:
    raise InjectedFailure("no evidence")


def _refuse_for_no_reason(injection: Injection, point: FoundBlock) -> None:
    reason: Any = "no-such-reason"
    injection.refused(reason)


def _fire_with(evidence: Firing) -> Inject:
    def inject(injection: Injection, point: FoundBlock) -> None:
        injection.fired(evidence)

    return inject


WRONG: dict[str, Inject] = {
    "raises": _raise,
    "raises-after-firing": _fire_and_raise,
    "raises-after-refusing": _refuse_and_raise,
    "fails-without-evidence": _fail_without_evidence,
    "fires-with-other-evidence": _fire_with(OtherEvidence(colour=1)),
    "fires-with-evidence-that-cannot-be-written": _fire_with(OtherEvidence(colour=object())),
    "refuses-for-an-unknown-reason": _refuse_for_no_reason,
}


def refusals(room: Room) -> list[FaultRecord]:
    return [line for line in room.events("refused") if line.refusal and line.refusal.reason == "fault-raised"]


@pytest.mark.parametrize("inject", WRONG.values(), ids=WRONG.keys())
def test_foreign_fault_that_raises_is_refused_and_never_counts_as_fired(
    room: Room, monkeypatch: pytest.MonkeyPatch, inject: Inject
) -> None:
    bring(monkeypatch, replace(KINDS[KIND], inject=inject))
    engine = room.start()
    room.arm(entry("gone", KIND, {"nth": [1]}))
    points = [block() for _ in range(3)]
    for point in points:
        engine.inject(LOOKUP, point, key=point.key)
    assert [point.answer for point in points] == ["hit"] * 3
    (line,) = refusals(room)
    assert (line.fault, line.kind, line.site, line.n) == ("gone", KIND, LOOKUP, 1)
    (healed,) = room.heal(["gone"])
    assert (healed.n, healed.evidence["fired"]) == (3, 0)
    assert room.events("fired") == []


def test_message_names_fault_package_and_error_in_one_bounded_line(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inject(injection: Injection, point: FoundBlock) -> None:
        raise OSError(f"acme\nis closed{' ' * 5}{'x' * 1000}")

    bring(monkeypatch, replace(KINDS[KIND], inject=inject))
    engine = room.start()
    room.arm(entry("gone", KIND))
    engine.inject(LOOKUP, block())
    (line,) = refusals(room)
    assert line.refusal is not None
    for part in (KIND, ORIGIN, "OSError: acme is closed x"):
        assert part in line.refusal.detail
    assert len(line.refusal.detail) == MAX_DETAIL


def test_foreign_fault_may_raise_the_injected_failure_that_it_journaled(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inject(injection: Injection, point: FoundBlock) -> None:
        injection.fired(EVIDENCE)
        raise InjectedFailure("on purpose")

    bring(monkeypatch, replace(KINDS[KIND], inject=inject))
    engine = room.start()
    room.arm(entry("gone", KIND))
    with pytest.raises(InjectedFailure, match="on purpose"):
        engine.inject(LOOKUP, block(), request="cmpl-1")
    (line,) = room.events("fired")
    assert (line.n, line.request) == (0, "cmpl-1")


def test_error_of_a_fault_of_the_suite_is_not_kept_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, KIND, replace(KINDS[KIND], inject=_raise))
    engine = room.start()
    room.arm(entry("gone", KIND))
    with pytest.raises(OSError, match="closed"):
        engine.inject(LOOKUP, block())


@pytest.mark.parametrize(("evidence", "event"), [(EVIDENCE, "refused"), (None, "fired")])
def test_evidence_that_an_injection_point_reports_later_is_checked_then(
    room: Room, monkeypatch: pytest.MonkeyPatch, evidence: Firing | None, event: str
) -> None:
    kind = "copy_delay"
    bring(monkeypatch, KINDS[kind])
    engine = room.start("worker")
    room.arm(entry("late", kind))
    point = CopyRequest(1, "load")
    engine.inject(COPY, point, direction="load")
    assert point.delayed_by is not None
    assert room.events("fired") + room.events("refused") == []
    point.delayed_by.fired(evidence or CopyDelayed(job=1, direction="load", ms=20.0))
    (line,) = room.events(event)
    assert line.n == 0


def test_foreign_observer_that_raises_is_journaled_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def observe(point: FoundBlock) -> None:
        raise OSError("acme is closed")

    bring(monkeypatch, replace(KINDS[KIND], observe=observe))
    engine = room.start()
    room.arm(entry("gone", KIND, {"nth": [1]}))
    points = [block() for _ in range(3)]
    for point in points:
        engine.inject(LOOKUP, point)
    assert [point.answer for point in points] == ["hit", "miss", "hit"]
    (line,) = refusals(room)
    assert (line.kind, line.n) == (KIND, None)


def test_foreign_parameter_check_that_raises_refuses_the_schedule(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conflict(params: object) -> str | None:
        raise OSError("acme is closed")

    bring(monkeypatch, replace(KINDS[KIND], conflict=conflict))
    room.start()
    room.put({"v": 1, "epoch": 1, "seed": 7, "lease_s": 30.0, "faults": [entry("gone", KIND)]})
    room.wait_for("refused", 1)
    (line,) = room.events("refused")
    assert line.refusal is not None
    assert line.refusal.reason == "schedule-malformed"
    assert ORIGIN in line.refusal.detail
    room.arm(entry("other", "lookup_retry"))


@pytest.mark.parametrize(
    ("site", "parameter"), [(LOOKUP, "dry_run"), (COPY, "direction"), (MANAGER_CALL, "hook")]
)
def test_fault_without_a_parameter_that_its_site_needs_is_not_registered(site: str, parameter: str) -> None:
    parameters = {name: each for name, each in KINDS[KIND].parameters.items() if name != parameter}
    with pytest.raises(ValueError, match=parameter):
        inside_kinds.register(replace(KINDS[KIND], name="acme", site=site, parameters=parameters), ORIGIN)
    assert "acme" not in KINDS


def test_contract_case_reports_what_the_fault_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = replace(KINDS[KIND], inject=_raise)
    bring(monkeypatch, kind)
    problems = dict(contract_cases.problems(kind))
    problem = problems["fires-with-its-evidence"]
    assert problem is not None
    assert "OSError: acme is closed" in problem
    assert problems["dry-run-changes-nothing"] is None


def test_every_refusal_that_a_foreign_fault_may_choose_is_accepted(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: tuple[RefusalReason, ...] = ("nothing-to-damage", "no-idle-block")

    def inject(injection: Injection, point: FoundBlock) -> None:
        injection.refused(reasons[len(room.events("refused"))])

    bring(monkeypatch, replace(KINDS[KIND], inject=inject))
    engine = room.start()
    room.arm(entry("gone", KIND, {"every": 1, "limit": len(reasons)}))
    for _ in range(3):
        engine.inject(LOOKUP, block())
    assert [line.evidence["reason"] for line in room.events("refused")] == list(reasons)
    assert refusals(room) == []
