"""Whatever is armed, healed and asked in whatever order: only what is armed strikes, with true counts."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chaos.inside.fault_kind import WORKER
from chaos.inside.inside_kinds import KINDS
from tests.support.control_directory import Entry, Room, entry
from tests.support.fault_model import COUNTED, Model, model
from tests.support.histories import sample_firing

WORKER_KINDS = sorted(kind.name for kind in KINDS.values() if kind.role == WORKER)
DIRECTIONS = ("load", "store", "both")


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Some faults with ids of their own, several of them often of one kind."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([*WORKER_KINDS, "copy_delay", "lookup_miss"]))
        trigger: Entry = draw(COUNTED)
        if draw(st.booleans()):
            trigger["limit"] = draw(st.integers(1, 3))
        params: Entry = {"dry_run": draw(st.booleans())} if draw(st.booleans()) else {}
        if kind == "copy_delay":
            params["direction"] = draw(st.sampled_from(DIRECTIONS))
        found.append(entry(f"f{number}", kind, trigger, **params))
    return found


class Sequences(RuleBasedStateMachine):
    """One worker's engine beside a model of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.room = Room(self.folder / "control")
        self.engine = self.room.start(WORKER)
        self.armed: list[Model] = []
        self.healed_lines = 0

    def teardown(self) -> None:
        self.room.close()
        shutil.rmtree(self.folder)

    @initialize(seed=st.integers(0, 2**63 - 1))
    def choose_seed(self, seed: int) -> None:
        self.seed = seed

    @rule(faults=entries())
    def arm(self, faults: list[Entry]) -> None:
        mine = [fault for fault in faults if fault["kind"] in WORKER_KINDS]
        before = len(self.room.events("armed"))
        self.room.arm(*mine, seed=self.seed) if mine else self.room.heal([m.fault.id for m in self.armed])
        self._settle("conductor")
        assert len(self.room.events("armed")) == before + len(mine)
        self.armed = [model(fault, self.seed) for fault in mine]

    @rule()
    def heal(self) -> None:
        self.room.heal([model.fault.id for model in self.armed])
        self._settle("conductor")

    @precondition(lambda self: self.armed)
    @rule()
    def lose_lease(self) -> None:
        self.room.lose_lease()
        self.room.healed(self.healed_lines, len(self.armed))
        self._settle("lease-expired")

    @rule(
        kind=st.sampled_from(WORKER_KINDS), times=st.integers(1, 6), direction=st.sampled_from(DIRECTIONS[:2])
    )
    def arrive(self, kind: str, times: int, direction: str) -> None:
        for _ in range(times):
            self._arrive(kind, direction if kind == "copy_delay" else None)

    def _arrive(self, kind: str, direction: str | None) -> None:
        expected: Model | None = None
        for armed in self.armed:
            if armed.fault.kind != kind:
                continue
            if direction is not None and armed.fault.params["direction"] not in (direction, "both"):
                continue
            if armed.arrive() and not armed.dry:
                expected = expected or armed
        strike = self.engine.evaluate(kind, direction=direction)
        if expected is None:
            assert strike is None, f"{kind} struck, and nothing of that kind was due"
            return
        assert strike is not None, f"{expected.fault.id} was due and did not strike"
        strike.fired(sample_firing(kind))
        line = self.room.events("fired")[-1]
        assert (line.fault, line.n) == (expected.fault.id, expected.arrivals - 1)
        expected.fired += 1

    def _settle(self, reason: str) -> None:
        """All that was armed has ended with true counts."""
        healed = self.room.healed(self.healed_lines, len(self.armed))
        assert [
            (line.fault, line.n, line.evidence) for line in sorted(healed, key=lambda line: line.fault or "")
        ] == [
            (model.fault.id, model.arrivals, {"reason": reason, "fired": model.fired}) for model in self.armed
        ]
        self.healed_lines += len(healed)
        self.armed = []

    @invariant()
    def no_limit_is_passed(self) -> None:
        assert all(m.fired <= m.fault.trigger.limit for m in self.armed if m.fault.trigger.limit is not None)


TestSequences = Sequences.TestCase
TestSequences.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
