"""An end that is seen late is still proved, and what follows it is never taken for what was to end."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

import pytest

from chaos.outside.injector import LOCAL, SERVER, ActiveFault, DueInjection
from chaos.outside.outside_kinds import TargetInjector
from history.protocol.outside import Ended
from tests.support.fake_restarter import FakeRestarter, strike


@dataclass
class FakeTarget:
    """A server in its first life, until a test ends it."""

    alive: bool = True
    sent: list[signal.Signals] = field(default_factory=list)

    def runs(self) -> bool:
        return self.alive

    def identity(self) -> Ended:
        return Ended(pid=7)

    def send(self, which: signal.Signals) -> None:
        self.sent.append(which)

    def kill_engine(self) -> list[int]:
        return [8]

    def engine_gone(self) -> bool:
        return True

    def ended(self) -> int | None:
        return None if self.alive else -9


@dataclass
class FakeServerTarget:
    """A server whose terminable part is a fake."""

    target: FakeTarget
    restarter: FakeRestarter

    def terminable(self) -> FakeTarget:
        return self.target


def prepare(injection: DueInjection, target: FakeTarget, restarter: FakeRestarter) -> ActiveFault:
    return TargetInjector(SERVER, FakeServerTarget(target, restarter), LOCAL).prepare(injection)


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_exit_first_observed_at_revert_is_still_evidence(kind: str) -> None:
    target, restarter = FakeTarget(), FakeRestarter()
    active = prepare(strike(kind, grace_s=60.0), target, restarter)
    active.apply()
    assert active.verify() is None
    active.revert()
    target.alive = False
    assert active.reverted() is None
    target.alive = True  # the next life
    proof = active.verify()
    assert isinstance(proof, Ended)
    assert (proof.pid, proof.code) == (7, -9)


def test_grace_period_of_a_stop_never_kills_the_next_incarnation() -> None:
    target = FakeTarget()
    active = prepare(strike("stop", grace_s=0.0), target, FakeRestarter())
    active.apply()
    active.revert()
    target.alive = False
    active.reverted()
    target.alive = True
    active.verify()
    assert target.sent == [signal.SIGTERM]


def test_next_incarnation_after_an_engine_kill_is_never_ended() -> None:
    target, restarter = FakeTarget(), FakeRestarter()
    active = prepare(strike("engine_kill", duration_s=0.0), target, restarter)
    active.apply()
    active.revert()
    target.alive = False
    active.reverted()
    target.alive = True
    active.reverted()
    assert (target.sent, restarter.calls) == ([], ["restart"])
