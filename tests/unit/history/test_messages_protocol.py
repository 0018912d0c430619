"""What is said of a line of a history that does not fit its type."""

from __future__ import annotations

from pathlib import Path

import pytest

from history.reader import UnreadableRun, read_events, read_faults
from tests.unit.history.test_protocol import events_file, journal


@pytest.mark.parametrize(
    ("evidence", "problem"),
    [
        ('{"about":"something new"}', "Invalid value 'something new' - at `$.about`"),
        ('{"about":"load-retried","key":"ab"}', "Object contains unknown field `key`"),
        ('{"about":"request-abandoned","computed":1}', "Object missing required field `answered`"),
    ],
)
def test_malformed_note_is_refused_with_its_line(tmp_path: Path, evidence: str, problem: str) -> None:
    run_dir = journal(tmp_path, '{"about":"load-retried"}', evidence)
    with pytest.raises(UnreadableRun) as refusal:
        read_faults(run_dir)
    assert str(refusal.value) == f"{run_dir}/control/faults-scheduler-7.jsonl:2: {problem}"


def firing(kind: str, evidence: str) -> str:
    head = '{"v":1,"t_ns":1,"mono_ns":1,"role":"worker","pid":7,"event":"fired","fault":"f","kind":'
    return f'{head}"{kind}","site":"copy","n":0,"request":null,"evidence":{evidence}}}\n'


@pytest.mark.parametrize(
    ("kind", "evidence", "problem"),
    [
        ("gamma_ray", "{}", "unknown kind of fault 'gamma_ray'"),
        ("copy_delay", '{"job":1,"direction":"load"}', "Object missing required field `ms`"),
        ("copy_delay", '{"job":1,"direction":"back","ms":1}', "Invalid enum value 'back' - at `$.direction`"),
        ("bit_flip", '{"bytes_changed":4,"odd":1}', "Object contains unknown field `odd`"),
    ],
)
def test_firing_with_evidence_of_another_kind_is_refused(
    tmp_path: Path, kind: str, evidence: str, problem: str
) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "faults-worker-7.jsonl").write_text(firing(kind, evidence))
    with pytest.raises(UnreadableRun) as refusal:
        read_faults(tmp_path)
    assert str(refusal.value) == f"{tmp_path}/control/faults-worker-7.jsonl:1: {problem}"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('"phase_begun","data":{}', "unknown kind of event 'phase_begun'"),
        ('"phase_start","data":{"phase":"a","role":"chaos"}', "Object missing required field `requests`"),
        ('"stall","data":{"seconds":1,"running":1,"waiting":1,"detail":"","odd":1}', "unknown field `odd`"),
        ('"run_failed","data":{"reason":3}', "Expected `str`, got `int` - at `$.reason`"),
    ],
)
def test_malformed_event_is_refused_with_its_line(tmp_path: Path, line: str, problem: str) -> None:
    run_dir = events_file(tmp_path, '"server_ready","data":{"seconds":1.5}', line)
    with pytest.raises(UnreadableRun) as refusal:
        list(read_events(run_dir))
    assert str(refusal.value).startswith(f"{run_dir}/events.jsonl:2: ")
    assert problem in str(refusal.value)
