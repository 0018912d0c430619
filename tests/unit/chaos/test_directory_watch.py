"""The control directory is watched without polling, and polled where it cannot be watched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.inside import directory_watch
from chaos.inside.directory_watch import DirectoryWatch

NEVER_S = 30.0
"""A wait that takes so long did not notice the change."""
POLL_S = 0.01


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[DirectoryWatch]:
    made = DirectoryWatch(tmp_path, POLL_S)
    yield made
    made.close()


def write(folder: Path) -> None:
    (folder / "armed.json").write_text("{}")


def replace(folder: Path) -> None:
    (folder / ".armed.json").replace(folder / "armed.json")


def delete(folder: Path) -> None:
    (folder / ".armed.json").unlink()


def waited_s(watch: DirectoryWatch, timeout_s: float | None = NEVER_S) -> float:
    began = time.monotonic()
    watch.wait(timeout_s)
    return time.monotonic() - began


@pytest.mark.parametrize("change", [write, replace, delete])
def test_change_of_a_file_ends_the_wait(
    tmp_path: Path, watch: DirectoryWatch, change: Callable[[Path], None]
) -> None:
    (tmp_path / ".armed.json").write_text("{}")
    watch.wait(0.0)
    change(tmp_path)
    assert waited_s(watch) < NEVER_S


def test_change_ends_one_wait_and_not_the_next_one(tmp_path: Path, watch: DirectoryWatch) -> None:
    write(tmp_path)
    watch.wait(NEVER_S)
    assert waited_s(watch, 0.05) >= 0.05


def test_line_that_is_appended_to_a_journal_ends_no_wait(tmp_path: Path, watch: DirectoryWatch) -> None:
    with (tmp_path / "faults-scheduler-1.jsonl").open("w") as journal:
        watch.wait(0.0)
        journal.write("{}\n")
        journal.flush()
        assert waited_s(watch, 0.05) >= 0.05


def test_wake_ends_the_wait_of_another_thread(watch: DirectoryWatch) -> None:
    waiting = threading.Thread(target=watch.wait, args=(None,))
    waiting.start()
    watch.wake()
    waiting.join(NEVER_S)
    assert not waiting.is_alive()


def test_directory_without_a_watch_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_watch, "_watch", lambda directory: None)
    polled = DirectoryWatch(tmp_path, POLL_S)
    try:
        assert waited_s(polled, None) < NEVER_S
        assert waited_s(polled, NEVER_S) < NEVER_S
    finally:
        polled.close()


def test_directory_that_cannot_be_watched_gives_no_descriptor(tmp_path: Path) -> None:
    assert directory_watch._watch(tmp_path / "missing") is None


def test_directory_that_was_moved_is_polled(tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    watch = DirectoryWatch(control, POLL_S)
    try:
        control.rename(tmp_path / "moved")
        assert waited_s(watch) < NEVER_S
        assert waited_s(watch, None) < NEVER_S
    finally:
        watch.close()
