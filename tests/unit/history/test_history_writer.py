"""A line that is lost, torn or mixed with another is a hole in the history."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import msgspec
import pytest

from history.jsonl import LineWriter
from history.records import Event


def event(kind: str) -> Event:
    return Event(t_ns=1, mono_ns=2, kind=kind, data={"text": "line\nbreak ü"})


def kinds(path: Path) -> list[str]:
    return [msgspec.json.decode(line, type=Event).kind for line in path.read_bytes().splitlines()]


def test_a_line_is_on_disk_when_write_returns(tmp_path: Path) -> None:
    with LineWriter(tmp_path / "events") as writer:
        for kind in ("a", "b"):
            writer.write(event(kind))
            assert kinds(tmp_path / "events")[-1] == kind
    content = (tmp_path / "events").read_bytes()
    assert content.endswith(b"\n")
    assert content.count(b"\n") == 2


def test_writer_appends_to_existing_lines(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        with LineWriter(tmp_path / "events") as writer:
            writer.write(event(kind))
    assert kinds(tmp_path / "events") == ["a", "b"]


def test_lines_of_several_threads_stay_complete(tmp_path: Path) -> None:
    with LineWriter(tmp_path / "events") as writer:

        def work(number: int) -> None:
            for _ in range(200):
                writer.write(event(str(number) * 500))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    written = kinds(tmp_path / "events")
    assert sorted(written) == sorted(str(number) * 500 for number in range(4) for _ in range(200))


def test_a_full_disk_is_an_error_at_the_line_that_does_not_fit() -> None:
    with LineWriter(Path("/dev/full")) as writer, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        writer.write(event("a"))


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "events")
    writer.close()
    writer.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        writer.write(event("a"))
    assert kinds(tmp_path / "events") == []
