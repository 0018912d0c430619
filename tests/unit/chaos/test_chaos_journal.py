"""The journal is the proof of every fault: whole lines, bounded, and no fault when it cannot be written."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.inside import journal_file
from chaos.inside.faults.manager_calls import LookupMissed
from chaos.inside.journal_file import Journal
from history.earlier_values import revised_fault
from history.jsonl import read_lines
from history.protocol.evidence import (
    Armed,
    BlockStoredAgain,
    ContentDamaged,
    Evidence,
    Healed,
    HealReason,
    Loaded,
    LoadRetried,
    Note,
    RefusalReason,
    Refused,
    RequestAbandoned,
)
from history.records import FaultRecord
from tests.support.control_directory import Room, entry, schedule, wait_until

FULL = Path("/dev/full")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, 2**63 - 1)
EVIDENCE: st.SearchStrategy[Evidence | Note] = st.one_of(
    st.builds(Loaded, generation=TEXT, sites=st.lists(TEXT), kinds=st.lists(TEXT)),
    st.builds(Armed, epoch=COUNTS),
    st.builds(Healed, reason=st.sampled_from(get_args(HealReason)), fired=COUNTS),
    st.builds(Refused, reason=st.sampled_from(get_args(RefusalReason)), detail=TEXT),
    st.builds(ContentDamaged, bytes_changed=COUNTS, block=COUNTS, plane=TEXT, blocks=st.lists(COUNTS)),
    st.builds(RequestAbandoned, computed=COUNTS, answered=COUNTS),
    st.just(LoadRetried()),
)


def file_of(control: Path, role: str = "worker") -> Path:
    return control / f"faults-{role}-{os.getpid()}.jsonl"


def decoded(path: Path) -> list[FaultRecord]:
    return [msgspec.json.decode(line, type=FaultRecord) for line in path.read_bytes().splitlines()]


@settings(deadline=None)
@given(
    evidence=EVIDENCE,
    n=st.none() | st.integers(0, 2**40),
)
def test_every_line_is_read_strictly_by_the_judges(
    tmp_path_factory: pytest.TempPathFactory, evidence: Evidence | Note, n: int | None
) -> None:
    control = tmp_path_factory.mktemp("control")
    assert Journal(control, "worker").write(
        evidence, fault="f1", kind="bit_flip", site="load-content", n=n, request="cmpl-1"
    )
    [line] = read_lines(file_of(control), FaultRecord, revised_fault)
    assert (line.role, line.pid, line.n) == ("worker", os.getpid(), n)
    assert (line.fault, line.kind, line.site, line.request) == ("f1", "bit_flip", "load-content", "cmpl-1")
    assert line.evidence == msgspec.to_builtins(evidence)


def test_each_role_appends_to_a_separate_journal(tmp_path: Path) -> None:
    for role in ("worker", "scheduler", "worker"):
        assert Journal(tmp_path, role).write(LoadRetried())
    assert len(decoded(file_of(tmp_path, "worker"))) == 2
    assert len(decoded(file_of(tmp_path, "scheduler"))) == 1


def test_lines_of_two_threads_do_not_mix(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "worker")

    def write(name: str) -> None:
        for n in range(300):
            journal.write(BlockStoredAgain(key=name * 50), n=n)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded(file_of(tmp_path))) == 1200


def test_a_journal_never_grows_beyond_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "MAX_BYTES", 1000)
    journal = Journal(tmp_path, "worker")
    answers = [journal.write(RequestAbandoned(computed=n, answered=0)) for n in range(50)]
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
    assert not journal.write(LoadRetried())
    assert (journal.open, journal.has_room) == (False, False)
    # Even when the disk has room again, since a line in between is lost.
    file_of(tmp_path).unlink()
    assert not journal.write(LoadRetried())


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
    assert [engine.evaluate("lookup_miss") for _ in range(20)] == [None] * 20


def test_full_journal_stops_strikes_but_still_records_healing(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = room.start()
    room.arm(entry("gone", "lookup_miss"))
    monkeypatch.setattr(journal_file, "MAX_BYTES", 5_000)
    monkeypatch.setattr(journal_file, "RESERVE_BYTES", 2_000)
    strikes = 0
    while (strike := engine.evaluate("lookup_miss")) is not None:
        strikes += 1
        strike.fired(LookupMissed(key="00", hit_blocks=1, answered_blocks=0))
        assert strikes < 100, "the bound did not hold"
    [healed] = room.heal(["gone"])
    assert len(room.events("fired")) == strikes == healed.evidence["fired"]
    assert file_of(room.path, "scheduler").stat().st_size <= 5_000
