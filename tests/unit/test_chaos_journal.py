"""The journal is the proof of every fault: whole lines, bounded, and no fault when it cannot be written."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.inside import journal as journal_module
from chaos.inside import lines as lines_module
from chaos.inside.journal import Evidence, Journal
from history.records import FaultRecord
from tests.unit.chaos_room import Room, entry, schedule, wait_until

FULL = Path("/dev/full")

EVIDENCE = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.lists(st.integers(0, 2**31), max_size=8),
    max_size=5,
)


def file_of(control: Path, role: str = "worker") -> Path:
    return control / f"faults-{role}-{os.getpid()}.jsonl"


def decoded(path: Path) -> list[FaultRecord]:
    return [msgspec.json.decode(line, type=FaultRecord) for line in path.read_bytes().splitlines()]


@settings(deadline=None)
@given(
    evidence=EVIDENCE,
    event=st.sampled_from(["loaded", "armed", "fired", "healed", "refused", "note"]),
    n=st.none() | st.integers(0, 2**40),
)
def test_every_line_is_read_strictly_by_the_judges(
    tmp_path_factory: pytest.TempPathFactory, evidence: Evidence, event: str, n: int | None
) -> None:
    control = tmp_path_factory.mktemp("control")
    assert Journal(control, "worker").write(
        event, evidence, fault="f1", kind="bit_flip", site="load-content", n=n, request="cmpl-1"
    )
    [line] = decoded(file_of(control))
    assert (line.role, line.pid, line.event, line.n) == ("worker", os.getpid(), event, n)
    assert (line.fault, line.kind, line.site, line.request) == ("f1", "bit_flip", "load-content", "cmpl-1")
    assert line.evidence == evidence


def test_each_role_has_a_file_of_its_own_and_appends_to_it(tmp_path: Path) -> None:
    for role in ("worker", "scheduler", "worker"):
        assert Journal(tmp_path, role).write("note", {})
    assert len(decoded(file_of(tmp_path, "worker"))) == 2
    assert len(decoded(file_of(tmp_path, "scheduler"))) == 1


def test_lines_of_two_threads_do_not_mix(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "worker")

    def write(name: str) -> None:
        for n in range(300):
            journal.write("note", {"text": name * 50}, n=n)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded(file_of(tmp_path))) == 1200


def test_a_journal_never_grows_beyond_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "MAX_BYTES", 1000)
    journal = Journal(tmp_path, "worker")
    answers = [journal.write("note", {"n": n}) for n in range(50)]
    assert answers == sorted(answers, reverse=True), "it wrote again after it had closed"
    assert answers[0]
    assert not answers[-1]
    assert not journal.open
    assert len(decoded(file_of(tmp_path))) == sum(answers)
    assert file_of(tmp_path).stat().st_size <= 1000


def test_a_full_disk_closes_the_journal_for_good(tmp_path: Path) -> None:
    file_of(tmp_path).symlink_to(FULL)
    journal = Journal(tmp_path, "worker")
    assert journal.has_room
    assert not journal.write("note", {})
    assert (journal.open, journal.has_room) == (False, False)
    # Even when the disk has room again, since a line in between is lost.
    file_of(tmp_path).unlink()
    assert not journal.write("note", {})


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Room(tmp_path / "control") as made:
        yield made


def test_no_fault_strikes_when_the_disk_is_full(room: Room) -> None:
    file_of(room.path, "scheduler").symlink_to(FULL)
    engine = room.start()
    room.put(schedule(entry("gone", "lookup_miss")))
    # The journal cannot tell when it is armed; the engine's own state can.
    wait_until(lambda: engine.armed("lookup_miss"), "the fault is armed")
    assert [engine.strike("lookup_miss") for _ in range(20)] == [None] * 20


def test_no_fault_strikes_whose_proof_would_not_fit_and_healing_is_still_told(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss"))
    monkeypatch.setattr(lines_module, "MAX_BYTES", 5_000)
    monkeypatch.setattr(journal_module, "RESERVE_BYTES", 2_000)
    strikes = 0
    while (strike := engine.strike("lookup_miss")) is not None:
        strikes += 1
        strike.fired({"key": "00", "hit_blocks": 1, "answered_blocks": 0})
        assert strikes < 100, "the bound did not hold"
    [healed] = room.heal(["gone"])
    assert len(room.events("fired")) == strikes == healed.evidence["fired"]
    assert file_of(room.path, "scheduler").stat().st_size <= 5_000
