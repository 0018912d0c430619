"""A journal that is read while it is written: no line is missed, read twice, or taken before it is whole."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from history.jsonl import GrowingFiles, UnreadableRun
from history.records import Event


def line(kind: str) -> bytes:
    return msgspec.json.encode(Event(t_ns=1, mono_ns=1, kind=kind, data={})) + b"\n"


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


@pytest.fixture
def files(tmp_path: Path) -> GrowingFiles[Event]:
    return GrowingFiles(tmp_path, "*.jsonl", Event)


def kinds(files: GrowingFiles[Event]) -> list[str]:
    return [event.kind for event in files.new()]


def test_growing_file_yields_each_line_once(tmp_path: Path, files: GrowingFiles[Event]) -> None:
    append(tmp_path / "a.jsonl", line("one") + line("two"))
    assert kinds(files) == ["one", "two"]
    assert kinds(files) == []
    append(tmp_path / "a.jsonl", line("three"))
    assert kinds(files) == ["three"]


def test_growing_file_yields_only_complete_lines(tmp_path: Path, files: GrowingFiles[Event]) -> None:
    whole = line("one")
    append(tmp_path / "a.jsonl", whole[:9])
    assert kinds(files) == []
    append(tmp_path / "a.jsonl", whole[9:])
    assert kinds(files) == ["one"]


def test_growing_file_may_be_created_later(tmp_path: Path, files: GrowingFiles[Event]) -> None:
    append(tmp_path / "b.jsonl", line("one"))
    assert kinds(files) == ["one"]
    append(tmp_path / "a.jsonl", line("two"))
    append(tmp_path / "other.txt", b"no line")
    assert kinds(files) == ["two"]


def test_malformed_line_is_named_by_its_number(tmp_path: Path, files: GrowingFiles[Event]) -> None:
    append(tmp_path / "a.jsonl", line("one"))
    assert kinds(files) == ["one"]
    append(tmp_path / "a.jsonl", b"{}\n")
    with pytest.raises(UnreadableRun, match=r"a\.jsonl:2: "):
        kinds(files)


def test_lines_before_a_malformed_one_are_kept(tmp_path: Path, files: GrowingFiles[Event]) -> None:
    append(tmp_path / "a.jsonl", line("one") + b"{}\n" + line("two"))
    kinds_read: list[str] = []
    with pytest.raises(UnreadableRun):
        kinds_read.extend(event.kind for event in files.new())
    assert kinds(files) == ["two"]


def test_directory_as_history_file_is_refused(tmp_path: Path, files: GrowingFiles[Event]) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(UnreadableRun, match=r"a\.jsonl"):
        kinds(files)
