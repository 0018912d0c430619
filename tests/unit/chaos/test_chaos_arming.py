"""The conductor believes in arming and healing only when the server's own journal says so."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chaos.control_plane import LEASE_S, ControlPlane
from chaos.inside.control import LEASE, SCHEDULE, parse_schedule
from chaos.inside.faults.manager_calls import LookupMissed
from history.jsonl import UnreadableRun
from history.scenario import FaultSpec, Trigger
from tests.support.control_directory import Room, wait_until

GONE = FaultSpec(id="gone", kind="lookup_miss", trigger=Trigger(every=1, limit=2))
FULL = FaultSpec(id="full", kind="store_refused", trigger=Trigger(probability=0.5))
FLIP = FaultSpec(id="flip", kind="bit_flip", trigger=Trigger(nth=(0, 4)), params={"bit": 3})
LATE = FaultSpec(
    id="late",
    kind="copy_delay",
    trigger=Trigger(every=3, offset=1, states=("decode", "storing")),
    params={"direction": "load"},
)


@pytest.fixture
def plane(tmp_path: Path) -> ControlPlane:
    return ControlPlane(tmp_path / "control")


@pytest.fixture
def room(plane: ControlPlane) -> Iterator[Room]:
    with Room(plane.path) as made:
        yield made


def test_existing_control_directory_is_made_writable_by_its_owner_alone(tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    control.chmod(0o777)
    assert stat.S_IMODE(ControlPlane(control).path.stat().st_mode) == 0o755


def test_healed_control_directory_arms_nothing(plane: ControlPlane) -> None:
    plane.heal()
    assert parse_schedule((plane.path / SCHEDULE).read_text()).faults == ()


def test_engine_reads_the_schedule_of_the_scenario(plane: ControlPlane) -> None:
    plane.arm(2**63 - 1, [GONE, FULL, FLIP, LATE])
    read = parse_schedule((plane.path / SCHEDULE).read_text())
    assert (read.seed, read.lease_s) == (2**63 - 1, LEASE_S)
    for fault, spec in zip(read.faults, [GONE, FULL, FLIP, LATE], strict=True):
        assert (fault.id, fault.kind) == (spec.id, spec.kind)
        assert msgspec.structs.asdict(fault.trigger) == spec.trigger.model_dump()
        assert fault.params.items() >= spec.params.items()


def test_arming_is_confirmed_only_when_the_engine_has_armed(plane: ControlPlane, room: Room) -> None:
    began = time.time_ns()
    plane.arm(1, [GONE, FULL])
    assert not plane.confirmed("armed", [GONE, FULL], began)
    engine = room.start()
    wait_until(lambda: plane.confirmed("armed", [GONE, FULL], began), "arming is confirmed")
    assert engine.evaluate("lookup_miss") is not None
    assert not plane.confirmed("armed", [GONE, FULL, FLIP], began), "no worker has taken the flip"
    assert not plane.confirmed("healed", [GONE], began)


def test_healing_is_confirmed_only_when_the_engine_has_healed(plane: ControlPlane, room: Room) -> None:
    engine = room.start()
    began = time.time_ns()
    plane.arm(1, [GONE])
    wait_until(lambda: plane.confirmed("armed", [GONE], began), "arming is confirmed")
    plane.heal()
    wait_until(lambda: plane.confirmed("healed", [GONE], began), "healing is confirmed")
    assert engine.evaluate("lookup_miss") is None


def test_an_earlier_arming_confirms_nothing(plane: ControlPlane, room: Room) -> None:
    room.start()
    began = time.time_ns()
    plane.arm(1, [GONE])
    wait_until(lambda: plane.confirmed("armed", [GONE], began), "arming is confirmed")
    assert not plane.confirmed("armed", [GONE], time.time_ns())


def test_faults_of_both_roles_are_confirmed_together(plane: ControlPlane, room: Room) -> None:
    room.start("scheduler")
    room.start("worker")
    began = time.time_ns()
    plane.arm(1, [GONE, FLIP])
    wait_until(lambda: plane.confirmed("armed", [GONE, FLIP], began), "arming is confirmed")


UNSUPPORTED = {"lookup_miss": "this vLLM never looks"}


def test_fault_without_an_injection_point_is_found_before_arming(plane: ControlPlane, room: Room) -> None:
    room.start("scheduler", unsupported_kinds=UNSUPPORTED)
    room.start("worker")
    assert plane.unsupported_faults([GONE, FULL, FLIP]) == [GONE]


def test_worker_without_chaos_module_has_no_injection_points(plane: ControlPlane, room: Room) -> None:
    room.start("scheduler")
    assert plane.unsupported_faults([GONE, FLIP]) == [FLIP]


def test_refused_fault_is_unconfirmed_with_its_reason(plane: ControlPlane, room: Room) -> None:
    room.start(unsupported_kinds=UNSUPPORTED)
    began = time.time_ns()
    plane.arm(1, [GONE, FULL])
    wait_until(lambda: bool(plane.refusals([GONE, FULL], began)), "the refusal is told")
    assert plane.refusals([GONE, FULL], began) == [f"{GONE.id}: {reason}" for reason in UNSUPPORTED.values()]
    assert not plane.confirmed("armed", [GONE, FULL], began)
    assert plane.refusals([FULL], began) == []
    assert plane.refusals([GONE], time.time_ns()) == []


def test_refusal_of_a_schedule_is_reported_in_full(plane: ControlPlane, room: Room) -> None:
    room.start()
    began = time.time_ns()
    plane.arm(1, [FaultSpec(id="no", kind="no_such_fault", trigger=Trigger(every=1))])
    wait_until(lambda: bool(plane.refusals([], began)), "the refusal is told")
    [refusal] = plane.refusals([GONE], began)
    assert "no_such_fault" in refusal


def test_refused_strike_is_no_refused_schedule(plane: ControlPlane, room: Room) -> None:
    engine = room.start()
    began = time.time_ns()
    plane.arm(1, [GONE])
    wait_until(lambda: plane.confirmed("armed", [GONE], began), "arming is confirmed")
    strike = engine.evaluate("lookup_miss")
    assert strike is not None
    strike.refused("nothing-to-damage")
    assert plane.refusals([GONE], began) == []


def test_the_epoch_grows_with_each_change_and_is_journaled(plane: ControlPlane, room: Room) -> None:
    room.start()
    for times in (1, 2):
        plane.arm(1, [GONE])
        room.wait_for("armed", times)
        plane.heal()
        assert json.loads((plane.path / SCHEDULE).read_text())["epoch"] == 2 * times
    assert [line.evidence["epoch"] for line in room.events("armed")] == [1, 3]


def test_firings_are_counted_by_the_journal(plane: ControlPlane, room: Room) -> None:
    engine = room.start()
    began = time.time_ns()
    plane.arm(1, [GONE])
    wait_until(lambda: plane.confirmed("armed", [GONE], began), "arming is confirmed")
    assert plane.fired() == 0
    for _ in range(5):
        if strike := engine.evaluate("lookup_miss"):
            strike.fired(LookupMissed(key="00", hit_blocks=1, answered_blocks=0))
    assert plane.fired() == 2


def test_incomplete_journal_line_is_not_counted(plane: ControlPlane, room: Room) -> None:
    room.start()
    [journal] = plane.path.glob("faults-*.jsonl")
    loaded = msgspec.json.decode(journal.read_bytes())
    line = msgspec.json.encode(
        {**loaded, "event": "fired", "kind": "lookup_retry", "evidence": {"key": "ab"}}
    )
    line += b"\n"
    with journal.open("ab") as file:
        file.write(line + line[:40])
    assert plane.fired() == 1


def test_reader_never_gets_a_partial_schedule(plane: ControlPlane) -> None:
    faults = [FaultSpec(id=f"f{n}", kind="bit_flip", trigger=Trigger(every=1)) for n in range(200)]
    plane.heal()
    stop = threading.Event()
    counts: set[int] = set()

    def read() -> None:
        while not stop.is_set():
            counts.add(len(parse_schedule((plane.path / SCHEDULE).read_text()).faults))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        plane.arm(1, faults)
        plane.heal()
    stop.set()
    reader.join()
    assert counts <= {0, 200}, "a draft was read"
    assert reader.is_alive() is False


def test_arming_renews_the_lease_and_healing_works_without_one(plane: ControlPlane) -> None:
    plane.heal()
    assert not (plane.path / LEASE).exists()
    began = time.time()
    plane.arm(1, [GONE])
    # The file system's clock is coarser than the wall clock.
    assert (plane.path / LEASE).stat().st_mtime > began - 0.1


def test_lease_renewal_returns_the_time_since_the_last_one(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.renew()
    before = time.monotonic()
    monkeypatch.setattr("chaos.control_plane.time.monotonic", lambda: before + LEASE_S + 1)
    assert plane.renew() > LEASE_S
    assert plane.renew() == 0


def test_faults_outlive_their_lease_only_while_it_is_renewed(
    plane: ControlPlane, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos.control_plane.LEASE_S", 0.3)
    room.start()
    began = time.time_ns()
    plane.arm(1, [GONE])
    wait_until(lambda: plane.confirmed("armed", [GONE], began), "arming is confirmed")
    wait_until(lambda: plane.confirmed("healed", [GONE], began), "the lease runs out")
    [healed] = room.events("healed")
    assert healed.evidence["reason"] == "lease-expired"


def test_a_journal_that_cannot_be_read_is_one_line_with_file_and_number(plane: ControlPlane) -> None:
    (plane.path / "faults-worker-1.jsonl").write_bytes(b"{}\n")
    with pytest.raises(UnreadableRun, match=r"faults-worker-1\.jsonl:1: "):
        plane.fired()
