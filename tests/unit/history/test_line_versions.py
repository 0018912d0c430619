"""Lines and plans of schema version 1 are read as today's, and neither version is taken for the other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from history import layout
from history.events import ProbeSent
from history.line_versions import PROBE_V1, decoder_of
from history.reader import UnreadableRun, read_history, read_plan
from history.records import PROBE, Event, FaultRecord, Record, RequestRecord
from history.seals import reseal
from kvchaos.judging.judge_run import judge
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run
from tests.support.stored import DATA, SUFFIX, unpack
from tests.support.synthetic_records import good_request, healthy
from tests.support.upgraded_runs import FILES, upgrade

REQUEST = good_request("r-1", "p-1", "golden", 17)
HEALTH = healthy("golden", 17)
LATENCY = FaultRecord(
    t_ns=1,
    mono_ns=1,
    role="outside",
    pid=7,
    event="fired",
    fault="f1",
    kind="network_latency",
    site="sent",
    n=0,
    request=None,
    evidence={"waiting": 1, "round_trip_ms": 8.0},
)
OLD_NAMES = [
    (REQUEST, {"scheduled_ns": "intended_ns", "client_queued": "held", "logprob_margins": "gaps"}),
    (HEALTH, {"event_loop_lag_us": "lag_us", "gc_pause_us": "collector_us"}),
    (LATENCY, {"round_trip_ms": "both_ways_ms"}),
]


def line_of(record: Record, names: dict[str, str], version: int) -> bytes:
    """The line of a record with some keys renamed."""
    line = msgspec.json.encode(record).replace(b'"v":2', f'"v":{version}'.encode())
    for today, old in names.items():
        assert f'"{today}":'.encode() in line
        line = line.replace(f'"{today}":'.encode(), f'"{old}":'.encode())
    return line


def fields(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


@pytest.mark.parametrize(("record", "names"), OLD_NAMES, ids=lambda value: type(value).__name__)
def test_renamed_fields_of_version_1_are_read(record: Record, names: dict[str, str]) -> None:
    decoder = decoder_of(type(record))
    read = decoder.decode(line_of(record, names, 1))
    assert isinstance(read, type(record))
    assert fields(read) == fields(decoder.decode(msgspec.json.encode(record)))


@pytest.mark.parametrize(("record", "names"), OLD_NAMES[:2], ids=lambda value: type(value).__name__)
def test_names_of_another_version_are_refused(record: Record, names: dict[str, str]) -> None:
    for line in (line_of(record, names, 2), line_of(record, {}, 1)):
        with pytest.raises(msgspec.ValidationError) as caught:
            decoder_of(type(record)).decode(line)
        assert any(f"`{name}`" in str(caught.value) for name in (*names, *names.values()))


def test_probe_of_version_1_is_read_by_its_name_of_today() -> None:
    event = Event(t_ns=1, mono_ns=1, kind=PROBE_V1, data={})
    assert decoder_of(Event).decode(line_of(event, {}, 1)).kind == ProbeSent.kind
    probe = msgspec.structs.replace(REQUEST, phase=PROBE_V1)
    old_names = OLD_NAMES[0][1]
    assert decoder_of(RequestRecord).decode(line_of(probe, old_names, 1)).phase == PROBE


def test_value_equal_to_old_keys_is_kept() -> None:
    text = '"held":true,"gaps":['
    record = msgspec.structs.replace(REQUEST, id=text, finish_reason=PROBE_V1)
    read = decoder_of(RequestRecord).decode(line_of(record, OLD_NAMES[0][1], 1))
    assert (read.id, read.finish_reason) == (text, PROBE_V1)


def test_phase_named_as_version_1_named_probes_is_kept_in_version_2() -> None:
    record = msgspec.structs.replace(REQUEST, phase=PROBE_V1)
    assert decoder_of(RequestRecord).decode(msgspec.json.encode(record)).phase == PROBE_V1


@pytest.mark.parametrize("kind", [kind for _, kind in FILES], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("version", ["0", "3", '"1"', "1.5", "null"])
def test_line_of_unknown_version_is_refused(kind: type[Record], version: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.v"):
        decoder_of(kind).decode(f'{{"v":{version}}}')


@pytest.mark.parametrize("kind", [kind for _, kind in FILES], ids=lambda kind: kind.__name__)
def test_line_of_version_1_is_decoded_by_its_own_type(kind: type[Record]) -> None:
    """It fails for a field that is missing, not for its version."""
    with pytest.raises(msgspec.ValidationError) as caught:
        decoder_of(kind).decode('{"v":1}')
    assert "`v`" not in str(caught.value)
    assert "$.v" not in str(caught.value)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write_run(clean_run(), tmp_path / "run")
    return tmp_path / "run"


def rewrite_plan(run_dir: Path, old: str, new: str) -> None:
    path = run_dir / layout.PLAN
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_plan_of_version_1_is_read_as_of_today(run_dir: Path) -> None:
    today = read_plan(run_dir)
    rewrite_plan(run_dir, "schema_version: 2", "schema_version: 1")
    rewrite_plan(run_dir, "probe_s: ", "canary_s: ")
    assert read_plan(run_dir) == today


def test_old_key_in_a_plan_of_version_2_is_refused(run_dir: Path) -> None:
    rewrite_plan(run_dir, "probe_s: ", "canary_s: ")
    with pytest.raises(UnreadableRun, match=r"limits\.canary_s"):
        read_plan(run_dir)


@pytest.mark.parametrize("version", ["0", "3", "true", "1.0", "'1'"])
def test_plan_of_unknown_version_is_refused(run_dir: Path, version: str) -> None:
    rewrite_plan(run_dir, "schema_version: 2", f"schema_version: {version}")
    with pytest.raises(UnreadableRun, match="schema_version: "):
        read_plan(run_dir)


@pytest.mark.parametrize("name", ["green", "hang", "wrong-answers"])
def test_stored_run_of_version_1_is_judged_as_one_of_version_2(name: str, tmp_path: Path) -> None:
    run_dir = unpack(DATA / f"{name}{SUFFIX}", tmp_path)
    assert b'"v":1' in (run_dir / layout.EVENTS).read_bytes()
    reseal(run_dir)
    before = judge(read_history(run_dir))
    upgrade(run_dir)
    reseal(run_dir)
    assert b'"v":1' not in (run_dir / layout.EVENTS).read_bytes()
    assert judge(read_history(run_dir)) == before


def test_resealing_keeps_the_version_of_every_line(tmp_path: Path) -> None:
    run_dir = unpack(DATA / f"green{SUFFIX}", tmp_path)
    before = (run_dir / layout.EVENTS).read_bytes().splitlines()
    reseal(run_dir)
    after = (run_dir / layout.EVENTS).read_bytes().splitlines()
    assert after[:-1] == before[:-1]
    assert after[-1].startswith(b'{"v":1,')
