"""What processes write for each other is typed, defined once, and no sentence is a key."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from chaos.inside.inside_kinds import KINDS as INSIDE
from chaos.outside.outside_kinds import KINDS as OUTSIDE
from history import events
from history.events import Timed, stored, typed
from history.jsonl import LineWriter
from history.protocol import evidence
from history.protocol.evidence import FIRINGS, AnyNote, LoadRetried, RequestAbandoned
from history.protocol.outside import REVERTED
from history.reader import read_events, read_faults

ROOT = Path(__file__).parents[3]
PACKAGES = ("benchmarks", "chaos", "history", "kvchaos", "loadtests", "oracles")
NOTES = {evidence.id_of(note) for note in get_args(AnyNote)}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_bytes())


def strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def matched(tree: ast.AST) -> Iterator[str]:
    """Strings that a value is compared with, or looked up by."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                yield from (text for each in (left, *others) for text in strings(each))
            case ast.Subscript(value=ast.Name(id="Annotated" | "Literal")):
                pass  # A type.
            case ast.Subscript(slice=place):
                yield from strings(place)
            case ast.MatchValue(value=value):
                yield from strings(value)
            case ast.Call(func=ast.Attribute(attr="get" | "startswith" | "endswith"), args=[key, *_]):
                yield from strings(key)


def test_each_note_id_is_defined_once() -> None:
    where = Counter((text, path) for path, tree in sources() for text in strings(tree) if text in NOTES)
    assert where == dict.fromkeys(((note, "history/protocol/evidence.py") for note in NOTES), 1)


def test_nothing_is_matched_by_a_sentence_of_an_earlier_version() -> None:
    found = {
        (path, text)
        for path, tree in sources()
        for text in strings(tree)
        if text in evidence.EARLIER_NOTES and " " in text and path != "history/protocol/evidence.py"
    }
    assert not found


KEYED = ("evidence", "data")
"""Attributes of lines that hold what a type is for."""


def read_by_key(tree: ast.AST) -> Iterator[str]:
    """Keys by which code reads the evidence of a line, or the data of an event, past its type."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Attribute(attr=name), slice=ast.Constant(value=str(key))):
                yield from [key] if name in KEYED else []
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr=name), attr="get"),
                args=[ast.Constant(value=str(key)), *_],
            ):
                yield from [key] if name in KEYED else []


def test_evidence_and_events_are_read_by_their_types() -> None:
    found = {(path, key) for path, tree in sources() for key in read_by_key(tree)}
    assert {path for path, _ in found} <= {"history/earlier_values.py"}


def test_evidence_read_by_key_is_found() -> None:
    bad = ast.parse('line.evidence.get("ms"); event.data["phase"]; other["x"]; event.data.phase')
    assert list(read_by_key(bad)) == ["ms", "phase"]


PHRASE = re.compile(r"[A-Za-z]{2,}[a-z] [a-z]{2,}")
SPACED_NAMES = {
    "not as expected",
    "log line",
    "kvchaos lean",
    "kvchaos openai",
    "stop by text",
    "open sockets",
}
SPACED_NAMES |= {"caused by", "server start", "positive control", "failed before", "known bug"}
SPACED_NAMES |= {"without faults"}
"""Values of our types, and names of clients, that are more than one word."""


def test_no_value_is_matched_by_a_sentence() -> None:
    found = {
        (path, text)
        for path, tree in sources()
        for text in matched(tree)
        if PHRASE.search(text) and text not in SPACED_NAMES
    }
    assert not found


def test_each_fault_kind_has_an_evidence_type() -> None:
    assert set(FIRINGS) == {*INSIDE, *OUTSIDE}
    assert set(REVERTED) == set(OUTSIDE)


def test_each_event_kind_has_one_type() -> None:
    kinds = [each.kind for each in events.TYPES]
    assert len(set(kinds)) == len(kinds)
    assert set(events.TYPES) == set(events.EventData.__subclasses__())


def journal(run_dir: Path, *evidence: str) -> Path:
    """A run with a fault journal that notes this."""
    folder = run_dir / "control"
    folder.mkdir()
    head = '{"v":1,"t_ns":1,"mono_ns":1,"role":"scheduler","pid":7,"event":"note"'
    rest = '"fault":null,"kind":null,"site":null,"n":null,"request":"cmpl-a-0","states":["decode"]'
    lines = [f'{head},{rest},"evidence":{each}}}\n' for each in evidence]
    (folder / "faults-scheduler-7.jsonl").write_text("".join(lines))
    return run_dir


@pytest.mark.parametrize(
    ("about", "note"),
    [
        ("asks the tier again after a failed load", LoadRetried()),
        ("load-retried", LoadRetried()),
        ("gave a request up, whose client has left", RequestAbandoned(computed=3, answered=2)),
        ("request-abandoned", RequestAbandoned(computed=3, answered=2)),
    ],
)
def test_notes_of_earlier_versions_are_read_as_those_of_today(
    tmp_path: Path, about: str, note: AnyNote
) -> None:
    figures = {name: getattr(note, name) for name in note.__struct_fields__}
    stored = msgspec.json.encode({"about": about, **figures}).decode()
    (line,) = read_faults(journal(tmp_path, stored))
    assert line.note == note


def events_file(run_dir: Path, *lines: str) -> Path:
    head = '{"v":1,"t_ns":1,"mono_ns":1,"kind":'
    (run_dir / "events.jsonl").write_text("".join(f"{head}{line}}}\n" for line in lines))
    return run_dir


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            '"healed","data":{"phase":"a","faults":["f"],"confirmed":true,"by":"the server\'s end"}',
            events.FaultsHealed(phase="a", faults=["f"], confirmed=True, by="server-exit"),
        ),
        (
            '"healed","data":{"phase":"a","faults":["f"],"confirmed":true}',
            events.FaultsHealed(phase="a", faults=["f"], confirmed=True),
        ),
        (
            '"server_stop","data":{"how":"term","code":0,"log_line":7}',
            events.ServerStop(how="SIGTERM", code=0, log_line=7),
        ),
        ('"server_start","data":{"pid":7,"port":8000}', events.ServerStart(pid=7, port=8000)),
        (
            '"evidence","data":{"run.yaml":3,"control/ledger-worker-7.jsonl":9}',
            events.EvidenceCounted(lines={"run.yaml": 3, "control/ledger-worker-7.jsonl": 9}),
        ),
    ],
)
def test_events_of_earlier_versions_are_read_as_those_of_today(
    tmp_path: Path, line: str, event: events.EventData
) -> None:
    (read,) = read_events(events_file(tmp_path, line))
    assert typed(read).data == event


EXAMPLES: dict[type[events.EventData], events.EventData] = {
    events.EvidenceCounted: events.EvidenceCounted(lines={"run.yaml": 3}),
    events.FaultsHealed: events.FaultsHealed(phase="a", faults=["f"], confirmed=False, by="nobody"),
    events.ProbeSent: events.ProbeSent(where="final", ok=True, seconds=0.5, request="probe-1", error=None),
    events.Drained: events.Drained(ok=True, seconds=0.1, running=0.0, waiting=0.0, kv_usage=0.0),
}


@pytest.mark.parametrize("event", EXAMPLES.values(), ids=lambda event: event.kind)
def test_event_round_trips(tmp_path: Path, event: events.EventData) -> None:
    written = Timed(3, 2, event)
    with LineWriter(tmp_path / "events.jsonl") as writer:
        writer.write(stored(written))
    assert [typed(line) for line in read_events(tmp_path)] == [written]
