"""The engine strikes what is armed, no more, and proves it; whatever lies in its directory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.inside import control as control_files
from chaos.inside.control import MAX_SCHEDULE_BYTES, BadControl
from chaos.inside.fault_kind import SCHEDULER, WORKER
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.faults.manager_calls import LookupMissed
from chaos.inside.inside_kinds import KINDS
from chaos.inside.trigger_decisions import Injection, expected_firings
from history.protocol.evidence import LoadRetried, Refused
from history.protocol.schedule import Trigger
from tests.support.control_directory import Room, entry, schedule, wait_until
from tests.support.histories import sample_firing


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Room(tmp_path / "control") as made:
        yield made


def arrive(engine: FaultRuntime, kind: str, times: int, direction: str | None = None) -> list[Injection]:
    """Strikes of so many arrivals, each with its proof written."""
    strikes = []
    for _ in range(times):
        strike = engine.evaluate(kind, direction=direction)
        if strike is not None:
            strike.fired(sample_firing(kind))
            strikes.append(strike)
    return strikes


def numbers(room: Room, event: str, fault: str) -> list[int | None]:
    return [line.n for line in room.events(event) if line.fault == fault]


def test_loading_is_journaled_with_generation_and_sites(room: Room) -> None:
    room.start("scheduler")
    room.start("worker")
    evidence = {line.role: line.evidence for line in room.events("loaded")}
    assert evidence == {
        "scheduler": {
            "generation": "G0",
            "sites": ["lookup", "lookup-miss", "manager-call", "residency", "store", "store-end"],
            "kinds": sorted(name for name, kind in KINDS.items() if kind.role == SCHEDULER),
        },
        "worker": {
            "generation": "G0",
            "sites": ["content", "copy", "copy-result", "copy-results", "load-result"],
            "kinds": sorted(name for name, kind in KINDS.items() if kind.role == WORKER),
        },
    }


UNSUPPORTED = {"lookup_retry": "this vLLM never asks again"}


def test_missing_injection_point_is_not_listed_as_reachable(room: Room) -> None:
    room.start(unsupported_kinds=UNSUPPORTED)
    [loaded] = room.events("loaded")
    assert loaded.loaded is not None
    kinds = loaded.loaded.kinds or ()
    assert "lookup_miss" in kinds
    assert "lookup_retry" not in kinds


def test_fault_without_an_injection_point_is_refused_and_never_armed(room: Room) -> None:
    engine = room.start(unsupported_kinds=UNSUPPORTED)
    room.put(schedule(entry("put-off", "lookup_retry"), entry("gone", "lookup_miss")))
    room.wait_for("armed", 1)
    room.wait_for("refused", 1)
    [refused] = room.events("refused")
    assert (refused.fault, refused.kind, refused.n) == ("put-off", "lookup_retry", None)
    assert refused.refusal == Refused(reason="unsupported", detail=UNSUPPORTED["lookup_retry"])
    assert [line.fault for line in room.events("armed")] == ["gone"]
    assert arrive(engine, "lookup_retry", 3) == []
    assert len(arrive(engine, "lookup_miss", 3)) == 3


def test_without_armed_faults_nothing_is_struck_or_journaled(room: Room) -> None:
    engine = room.start()
    assert arrive(engine, "lookup_miss", 100) == []
    assert [line.event for line in room.lines()] == ["loaded"]


def test_armed_faults_strike_and_are_healed_with_their_counts(room: Room) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss", {"nth": [1, 3], "limit": 5}))
    assert len(arrive(engine, "lookup_miss", 6)) == 2
    [healed] = room.heal(["gone"])
    assert arrive(engine, "lookup_miss", 6) == []
    assert numbers(room, "fired", "gone") == [1, 3]
    assert (healed.fault, healed.kind, healed.site) == ("gone", "lookup_miss", "lookup")
    assert healed.n == 6
    assert healed.evidence == {"reason": "conductor", "fired": 2}


def test_firing_records_fault_invocation_and_request(room: Room) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss", {"nth": [1]}))
    assert engine.evaluate("lookup_miss", request="cmpl-0") is None
    strike = engine.evaluate("lookup_miss", request="cmpl-1")
    assert strike is not None
    strike.fired(LookupMissed(key="ab", hit_blocks=1, answered_blocks=0))
    [line] = room.events("fired")
    assert (line.fault, line.site, line.n, line.request) == ("gone", "lookup", 1, "cmpl-1")
    assert line.evidence == {"key": "ab", "hit_blocks": 1, "answered_blocks": 0}


def test_role_arms_only_its_own_faults(room: Room) -> None:
    scheduler, worker = room.start("scheduler"), room.start("worker")
    room.arm(entry("gone", "lookup_miss"), entry("flip", "bit_flip"))
    assert {(line.role, line.fault) for line in room.events("armed")} == {
        ("scheduler", "gone"),
        ("worker", "flip"),
    }
    assert arrive(scheduler, "bit_flip", 3) == arrive(worker, "lookup_miss", 3) == []
    assert len(arrive(scheduler, "lookup_miss", 3)) == len(arrive(worker, "bit_flip", 3)) == 3


def test_engine_fires_exactly_the_predicted_firings(room: Room) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss", {"probability": 0.3, "limit": 20}), seed=99)
    arrive(engine, "lookup_miss", 200)
    expected = list(expected_firings(Trigger(probability=0.3, limit=20), 99, "gone", "lookup", 200))
    assert numbers(room, "fired", "gone") == expected
    assert len(expected) == 20


def test_removing_a_fault_keeps_the_firings_of_others_of_its_kind(room: Room) -> None:
    engine = room.start()
    room.arm(
        entry("one", "lookup_miss", {"every": 2}),
        entry("other", "lookup_miss", {"every": 3}),
    )
    arrive(engine, "lookup_miss", 12)
    one, other = room.heal(["one", "other"])
    # Where both would strike, the first does and the other says that it did not.
    assert numbers(room, "fired", "one") == [0, 2, 4, 6, 8, 10]
    assert numbers(room, "fired", "other") == [3, 9]
    assert numbers(room, "refused", "other") == [0, 6]
    assert (one.n, one.evidence["fired"]) == (12, 6)
    assert (other.n, other.evidence["fired"]) == (12, 2)


def test_injection_point_counts_only_its_own_calls(room: Room) -> None:
    engine = room.start()
    room.arm(entry("raises", "manager_raises", {"nth": [1]}, hook="lookup"))
    calls = ["prepare_store", "lookup", "prepare_store", "lookup", "lookup"]
    struck = [engine.evaluate("manager_raises", hook=hook) is not None for hook in calls]
    assert struck == [False, False, False, True, False]


def test_direction_counts_only_its_own_copies(room: Room) -> None:
    engine = room.start("worker")
    room.arm(
        entry("loads", "copy_delay", {"every": 1}, direction="load"),
        entry("stores", "copy_delay", {"every": 1}, direction="store"),
    )
    arrive(engine, "copy_delay", 3, "load")
    arrive(engine, "copy_delay", 2, "store")
    loads, stores = room.heal(["loads", "stores"])
    assert (loads.n, loads.evidence["fired"]) == (3, 3)
    assert (stores.n, stores.evidence["fired"]) == (2, 2)


def test_a_fault_of_both_directions_counts_all_copies(room: Room) -> None:
    engine = room.start("worker")
    room.arm(entry("all", "copy_delay", {"every": 2}))
    arrive(engine, "copy_delay", 3, "load")
    arrive(engine, "copy_delay", 3, "store")
    assert numbers(room, "fired", "all") == [0, 2, 4]


def test_a_dry_run_decides_and_changes_nothing(room: Room) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss", {"every": 2, "limit": 2}, dry_run=True))
    assert arrive(engine, "lookup_miss", 9) == []
    [healed] = room.heal(["gone"])
    assert numbers(room, "refused", "gone") == [0, 2]
    assert {line.evidence["reason"] for line in room.events("refused")} == {"dry-run"}
    assert room.events("fired") == []
    assert healed.evidence["fired"] == 0


def test_dry_run_leaves_the_invocation_to_other_faults(room: Room) -> None:
    engine = room.start()
    room.arm(entry("dry", "lookup_miss", {"every": 1}, dry_run=True), entry("wet", "lookup_miss"))
    assert len(arrive(engine, "lookup_miss", 3)) == 3
    assert numbers(room, "fired", "wet") == numbers(room, "refused", "dry") == [0, 1, 2]


def test_new_schedule_resets_invocation_counts(room: Room) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss", {"every": 1, "limit": 2}))
    assert len(arrive(engine, "lookup_miss", 5)) == 2
    room.arm(entry("gone", "lookup_miss", {"every": 1, "limit": 1}))
    assert len(arrive(engine, "lookup_miss", 5)) == 1
    first, second = [*room.events("healed"), *room.heal(["gone"])]
    assert (first.evidence["fired"], second.evidence["fired"]) == (2, 1)


@pytest.mark.parametrize("how", [Room.lose_lease, Room.withdraw], ids=["lease lost", "schedule removed"])
def test_faults_are_healed_after_the_conductor_died(room: Room, how: Callable[[Room], None]) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss"))
    arrive(engine, "lookup_miss", 2)
    how(room)
    [healed] = room.healed(0, 1)
    expected = "lease-expired" if how is Room.lose_lease else "schedule-removed"
    assert healed.evidence == {"reason": expected, "fired": 2}
    assert arrive(engine, "lookup_miss", 5) == []


def test_expired_lease_is_not_revived(room: Room) -> None:
    engine = room.start()
    room.put(schedule(entry("gone", "lookup_miss"), lease_s=0.05))
    [healed] = room.healed(0, 1)
    assert healed.evidence["reason"] == "lease-expired"
    room.renew()
    room.arm(entry("other", "store_refused"))
    assert arrive(engine, "lookup_miss", 5) == []


def test_removed_schedule_can_be_armed_again(room: Room) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss"))
    room.withdraw()
    room.healed(0, 1)
    room.arm(entry("gone", "lookup_miss"))
    assert len(arrive(engine, "lookup_miss", 1)) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "malformed"),
        (b"\xff\xfe\x00", "can't decode"),
        (schedule(entry("gone", "no_such_fault")), "unknown fault no_such_fault"),
        (schedule(entry("gone", "lookup_miss"), lease_s=10**400), "malformed"),
        (schedule(entry("gone", "lookup_miss"), epoch="\ud800" * 9000), "JSON"),
        (" " * (MAX_SCHEDULE_BYTES + 1), "too large"),
    ],
    ids=["empty", "cut", "list", "binary", "unknown fault", "huge number", "huge text", "huge file"],
)
def test_malformed_schedule_is_refused_and_disarms_all_faults(
    room: Room, content: str | bytes, reason: str
) -> None:
    engine = room.start()
    room.arm(entry("before", "lookup_miss"))
    room.put(content)
    [healed] = room.healed(0, 1)
    assert healed.evidence["reason"] == "schedule-refused"
    [refused] = room.events("refused")
    assert refused.refusal is not None
    assert refused.refusal.reason == "schedule-malformed"
    assert reason in refused.refusal.detail
    assert len(refused.refusal.detail) < 500
    assert refused.fault is None
    assert arrive(engine, "lookup_miss", 5) == []
    # It goes on.
    room.arm(entry("after", "lookup_miss"))
    assert len(arrive(engine, "lookup_miss", 5)) == 5


def test_malformed_schedule_is_refused_once_and_not_at_every_poll(room: Room) -> None:
    room.start()
    room.put("{")
    wait_until(lambda: bool(room.events("refused")), "the schedule is refused")
    room.arm(entry("after", "lookup_miss"))
    assert len(room.events("refused")) == 1


def test_control_directory_writable_by_others_arms_nothing(room: Room) -> None:
    engine = room.start()
    room.path.chmod(0o777)
    room.put(schedule(entry("gone", "lookup_miss")))
    wait_until(lambda: bool(room.events("refused")), "the schedule is refused")
    assert str(room.path) in str(room.events("refused")[0].refusal)
    assert arrive(engine, "lookup_miss", 5) == []


def test_engine_refuses_an_untrusted_control_directory(room: Room) -> None:
    room.path.chmod(0o777)
    with pytest.raises(BadControl, match="chmod go-w"):
        room.start()
    assert list(room.path.iterdir()) == []


def test_a_schedule_replaced_while_it_is_read_is_armed_once(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Armed twice, its counts would begin anew and its limit would be passed.
    real_check = control_files.check_directory
    pending = [schedule(entry("late", "lookup_miss"))]

    def check_and_replace(control: Path) -> None:
        real_check(control)
        if pending:
            room.put(pending.pop())

    engine = room.start()
    monkeypatch.setattr(control_files, "check_directory", check_and_replace)
    room.put(schedule(entry("early", "lookup_miss")))
    wait_until(lambda: bool(numbers(room, "armed", "late")), "the late fault is armed")
    room.arm(entry("last", "store_refused"))
    assert len(numbers(room, "armed", "late")) == 1
    assert engine.armed("store_refused")


def test_draws_of_a_strike_depend_on_its_invocation_and_purpose(room: Room) -> None:
    engine = room.start()
    room.arm(entry("one", "lookup_miss"), seed=5)
    first, second = arrive(engine, "lookup_miss", 2)
    draws = [first.draw("block"), first.draw("plane"), second.draw("block")]
    assert len(set(draws)) == 3
    assert first.draw("block") == draws[0]
    room.heal(["one"])
    room.arm(entry("one", "lookup_miss"), seed=5)
    [again] = arrive(engine, "lookup_miss", 1)
    assert again.draw("block") == draws[0]


def test_closed_engine_has_no_thread_or_open_file_and_strikes_no_more(room: Room) -> None:
    before = watchers()
    engine = room.start()
    room.arm(entry("gone", "lookup_miss"))
    assert engine.evaluate("lookup_miss") is not None
    assert len(files_in_use(room.path)) == 2
    engine.close()
    assert watchers() == before
    assert files_in_use(room.path) == set()
    assert engine.evaluate("lookup_miss") is None
    known = room.lines()
    room.put(schedule(entry("late", "lookup_miss")))
    engine.note(LoadRetried(), "r1")
    engine.close()
    assert room.lines() == known


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "kvchaos-scheduler"}


def files_in_use(folder: Path) -> set[Path]:
    """The files of a folder that this process has open."""
    return {path for fd in Path("/proc/self/fd").iterdir() if (path := fd.resolve()).parent == folder}
