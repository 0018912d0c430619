"""A fault from outside strikes when its schedule says so, is proved, and is undone on every way out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chaos.inside.trigger_decisions import expected_firings
from chaos.outside.injector import ActiveFault, DueInjection, InjectionRefused
from chaos.outside.outside_faults import InvocationCounts, OutsideFaults, OutsideJournal
from history.protocol import evidence
from history.protocol.evidence import FaultReverted
from history.protocol.outside import Continued, Paused
from history.reader import read_faults
from history.records import FaultRecord
from history.scenario import FaultSpec, Trigger

SEED = 5


class Cut(Exception):
    """As a signal to the conductor cuts a strike."""


@dataclass
class FakeActiveFault:
    """A strike on nothing, which shows and ends when a test wants it."""

    strike_made: DueInjection
    refuse: str | None = None
    shows: bool = True
    ends: bool = True
    broken: bool = False
    cut: bool = False
    struck: int = 0
    lifts: int = 0

    def apply(self) -> None:
        if self.refuse is not None:
            raise InjectionRefused(self.refuse)
        self.struck += 1
        if self.cut:
            raise Cut

    def verify(self) -> Paused | None:
        return Paused(signal="SIGSTOP") if self.shows else None

    def revert(self) -> None:
        self.lifts += 1
        if self.broken:
            raise OSError("it does not obey")

    def reverted(self) -> Continued | None:
        return Continued(processes=1) if self.ends else None


@dataclass
class FakeInjector:
    """Keeps the holds that it made; each is made like `like`."""

    like: dict[str, object] = field(default_factory=dict)
    prepared: list[FakeActiveFault] = field(default_factory=list)
    kinds: tuple[str, ...] = ("pause",)

    def unsupported_reason(self, kind: str) -> str | None:
        return None

    def prepare(self, strike: DueInjection) -> ActiveFault:
        made = FakeActiveFault(strike)
        for name, value in self.like.items():
            setattr(made, name, value)
        self.prepared.append(made)
        return made


class Bench:
    """An engine with a clock of its own and a fake injector."""

    def __init__(self, folder: Path, **like: object) -> None:
        (folder / "control").mkdir()
        self.folder = folder
        self.now = 100.0
        self.injector = FakeInjector(like)
        self.engine = OutsideFaults([self.injector], OutsideJournal(folder / "control"), lambda: self.now)

    def arm(self, trigger: Trigger, *, trigger_on: str = "answered", duration_s: float = 2.0) -> None:
        self.engine.arm(SEED, [spec(trigger, trigger_on=trigger_on, duration_s=duration_s)])

    def journal(self) -> list[FaultRecord]:
        return read_faults(self.folder)

    def journal_events(self) -> list[tuple[str, int | None]]:
        return [(line.event, line.n) for line in self.journal()]


def spec(
    trigger: Trigger, fault: str = "frozen", *, trigger_on: str = "answered", duration_s: float = 2.0
) -> FaultSpec:
    return FaultSpec(
        id=fault, kind="pause", trigger=trigger, params={"trigger_on": trigger_on, "duration_s": duration_s}
    )


def after(answered: int = 0, sent: int = 0, seconds: float = 0.0) -> InvocationCounts:
    return InvocationCounts(sent=sent, answered=answered, seconds=seconds)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_nothing_strikes_before_its_arrival(bench: Bench) -> None:
    bench.arm(Trigger(nth=(20,)))
    bench.engine.tick(after(answered=20))
    assert bench.injector.prepared == []
    bench.engine.tick(after(answered=21))
    assert [active.struck for active in bench.injector.prepared] == [1]
    assert bench.journal_events() == [("armed", None), ("fired", 20)]


@pytest.mark.parametrize(
    ("trigger_on", "reached"),
    [("sent", after(sent=4)), ("answered", after(answered=4)), ("second", after(seconds=3.0))],
)
def test_trigger_counts_invocations_at_its_site(
    bench: Bench, trigger_on: str, reached: InvocationCounts
) -> None:
    bench.arm(Trigger(nth=(3,)), trigger_on=trigger_on)
    bench.engine.tick(reached)
    assert [active.strike_made.site for active in bench.injector.prepared] == [trigger_on]


def test_batched_invocations_are_decided_one_by_one_as_predicted(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    trigger = Trigger(probability=0.2, limit=5)
    bench.arm(trigger, duration_s=0.0)
    for answered in (7, 8, 30, 100):
        bench.engine.tick(after(answered=answered))
        bench.now += 1
        bench.engine.tick(after(answered=answered))
    fired = {n for event, n in bench.journal_events() if event == "fired"}
    refused = {n for event, n in bench.journal_events() if event == "refused"}
    whole = set(expected_firings(Trigger(probability=0.2).as_armed(), SEED, "frozen", "answered", 100))
    assert len(fired) == 4
    assert fired < whole
    assert refused < whole
    assert not fired & refused


def test_strike_lasts_for_its_duration(bench: Bench) -> None:
    bench.arm(Trigger(nth=(0,)), duration_s=2.0)
    bench.engine.tick(after(answered=1))
    bench.now += 1.9
    bench.engine.tick(after(answered=1))
    assert bench.injector.prepared[0].lifts == 0
    bench.now += 0.1
    bench.engine.tick(after(answered=1))
    assert bench.injector.prepared[0].lifts == 1
    *_, fired, undone = bench.journal()
    paused, note = fired.firing, undone.note
    assert isinstance(paused, Paused)
    assert paused.signal == "SIGSTOP"
    assert isinstance(note, FaultReverted)
    assert undone.reverted == Continued(processes=1)
    assert 0 < (paused.struck_ns or 0) <= fired.t_ns <= note.lifted_ns <= undone.t_ns


@pytest.mark.parametrize("ticks", [1, 2], ids=["while it lasts", "when it is over"])
def test_strike_that_ended_by_itself_allows_the_next_strike(tmp_path: Path, ticks: int) -> None:
    """A slow server answers the malformed requests of one strike later than the next one is due."""
    bench = Bench(tmp_path)
    bench.injector.kinds = ("malformed_request",)
    engine = OutsideFaults([bench.injector], OutsideJournal(tmp_path / "control"), lambda: bench.now)
    engine.arm(SEED, [FaultSpec(id="wrong", kind="malformed_request", trigger=Trigger(nth=(0, 1)))])
    for _ in range(ticks):
        engine.tick(after(answered=1))
    engine.tick(after(answered=2))
    assert [active.strike_made.n for active in bench.injector.prepared] == [0, 1]
    assert engine.fired() == 2


def test_a_strike_that_is_due_while_the_one_before_lasts_is_refused(bench: Bench) -> None:
    bench.arm(Trigger(every=1))
    bench.engine.tick(after(answered=2))
    assert bench.journal_events() == [("armed", None), ("refused", 1), ("fired", 0)]
    assert bench.journal()[1].refusal == evidence.Refused(reason="still-in-force")


def test_a_strike_that_was_refused_does_not_count_as_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, refuse="the server does not run")
    bench.arm(Trigger(every=1, limit=2))
    bench.engine.tick(after(answered=5))
    assert [event for event, _ in bench.journal_events()] == ["armed", *5 * ["refused"]]
    assert bench.engine.fired() == 0


def test_a_strike_without_effect_never_counts_as_fired(tmp_path: Path) -> None:
    bench = Bench(tmp_path, shows=False)
    bench.arm(Trigger(nth=(0,)))
    bench.engine.tick(after(answered=1))
    bench.engine.revert()
    assert bench.engine.healed()
    assert [event for event, _ in bench.journal_events()] == ["armed", "note", "healed"]


def test_a_fault_is_healed_only_when_all_its_strikes_are_undone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ends=False)
    bench.arm(Trigger(nth=(0,)))
    bench.engine.tick(after(answered=9))
    bench.engine.revert()
    assert not bench.engine.healed()
    assert "healed" not in {event for event, _ in bench.journal_events()}
    bench.injector.prepared[0].ends = True
    assert bench.engine.healed()
    last = bench.journal()[-1]
    assert (last.event, last.n, last.evidence["fired"]) == ("healed", 9, 1)


def test_a_fault_that_never_struck_is_healed_too(bench: Bench) -> None:
    bench.arm(Trigger(nth=(50,)))
    bench.engine.revert()
    assert bench.engine.healed()
    assert bench.journal()[-1].evidence["fired"] == 0


def test_failed_revert_does_not_prevent_other_reverts(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.engine.arm(SEED, [spec(Trigger(nth=(0,)), "one"), spec(Trigger(nth=(0,)), "two")])
    bench.engine.tick(after(answered=1))
    for active in bench.injector.prepared:
        active.broken = True
    with pytest.raises(OSError, match="does not obey"):
        bench.engine.close()
    assert [active.lifts for active in bench.injector.prepared] == [1, 1]
    with pytest.raises(OSError, match="does not obey"):
        bench.engine.close()
    assert [active.lifts for active in bench.injector.prepared] == [2, 2]


def test_partially_applied_strike_is_reverted_on_close(tmp_path: Path) -> None:
    bench = Bench(tmp_path, cut=True)
    bench.arm(Trigger(nth=(0,)))
    with pytest.raises(Cut):
        bench.engine.tick(after(answered=1))
    bench.engine.close()
    assert bench.injector.prepared[0].lifts == 1


def test_fault_without_an_injector_is_an_obstacle(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    other = FaultSpec(id="x", kind="kill", trigger=Trigger(nth=(0,)))
    (obstacle,) = bench.engine.unsupported_reasons([other])
    assert obstacle.startswith("x (kill): ")
    assert bench.engine.unsupported_reasons([spec(Trigger(nth=(0,)))]) == []


def test_arming_over_armed_faults_is_an_error(bench: Bench) -> None:
    bench.arm(Trigger(nth=(0,)))
    with pytest.raises(RuntimeError):
        bench.arm(Trigger(nth=(0,)))
