"""Files of a server that serves several runs: no line is lost, none is in two runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from history import layout
from kvchaos.stacks.server_files import CollectedFiles, OwnFiles

JOURNAL, LEDGER = "faults-worker-7.jsonl", "ledger-worker-7.jsonl"
PROVENANCE = "provenance-scheduler-7.jsonl"


class Server:
    """A server's own folder, and the runs that it serves."""

    def __init__(self, folder: Path) -> None:
        self.own = folder / "own"
        (self.own / layout.CONTROL).mkdir(parents=True)
        self.files = CollectedFiles(self.own)
        self._folder = folder

    def begin(self, name: str) -> Path:
        run_dir = self._folder / name
        run_dir.mkdir()
        self.files.begin(run_dir)
        return run_dir

    def log(self, text: str) -> None:
        with (self.own / layout.SERVER_LOG).open("a") as file:
            file.write(text)

    def write_line(self, name: str, event: str, number: int = 0) -> None:
        with (self.own / layout.CONTROL / name).open("a") as file:
            file.write(json.dumps({"event": event, "n": number}) + "\n")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def lines_of(run_dir: Path, name: str) -> list[tuple[str, int]]:
    lines = (run_dir / layout.CONTROL / name).read_text().splitlines()
    return [(line["event"], line["n"]) for line in map(json.loads, lines)]


def test_each_run_gets_its_log_section_with_separate_line_numbers(server: Server) -> None:
    one = server.begin("one")
    server.log("first\nsecond\n")
    assert server.files.log_lines() == 2
    server.log("third\n")
    server.files.collect()
    two = server.begin("two")
    assert server.files.log_lines() == 0
    server.log("fourth\n")
    assert server.files.log_lines() == 1
    assert (one / layout.SERVER_LOG).read_text() == "first\nsecond\nthird\n"
    assert (two / layout.SERVER_LOG).read_text() == "fourth\n"


def test_lines_between_two_runs_belong_to_the_later_one(server: Server) -> None:
    server.begin("one")
    server.files.collect()
    server.log("meanwhile\n")
    two = server.begin("two")
    server.files.collect()
    assert (two / layout.SERVER_LOG).read_text() == "meanwhile\n"


def test_incomplete_log_line_is_completed(server: Server) -> None:
    run_dir = server.begin("one")
    server.log("half")
    server.files.collect()
    server.log(", whole\n")
    server.files.collect()
    assert (run_dir / layout.SERVER_LOG).read_text() == "half, whole\n"


def test_a_journal_starts_with_what_the_module_can_do(server: Server) -> None:
    server.begin("one")
    server.write_line(JOURNAL, "loaded")
    server.write_line(JOURNAL, "fired", 3)
    server.files.collect()
    two = server.begin("two")
    server.write_line(JOURNAL, "fired", 4)
    server.files.collect()
    assert lines_of(two, JOURNAL) == [("loaded", 0), ("fired", 4)]


def test_a_ledger_starts_with_its_last_balance_from_before_the_run(server: Server) -> None:
    server.begin("one")
    server.write_line(LEDGER, "balance", 1)
    server.write_line(LEDGER, "balance", 2)
    server.files.collect()
    two = server.begin("two")
    server.write_line(LEDGER, "balance", 3)
    server.files.collect()
    assert lines_of(two, LEDGER) == [("balance", 2), ("balance", 3)]


def test_a_provenance_log_starts_with_its_first_line(server: Server) -> None:
    server.begin("one")
    server.write_line(PROVENANCE, "opened", 1)
    server.write_line(PROVENANCE, "provenance", 2)
    server.files.collect()
    two = server.begin("two")
    server.write_line(PROVENANCE, "provenance", 3)
    server.files.collect()
    assert lines_of(two, PROVENANCE) == [("opened", 1), ("provenance", 3)]


def test_journal_of_a_later_process_is_collected_from_its_start(server: Server) -> None:
    server.begin("one")
    two = server.begin("two")
    server.write_line(JOURNAL, "loaded")
    server.files.collect()
    assert lines_of(two, JOURNAL) == [("loaded", 0)]


def test_a_damaged_line_of_a_journal_does_not_keep_a_run_from_beginning(server: Server) -> None:
    server.begin("one")
    (server.own / layout.CONTROL / JOURNAL).write_bytes(b"\xff{not json\n[1]\n")
    server.files.collect()
    two = server.begin("two")
    server.write_line(JOURNAL, "fired", 1)
    server.files.collect()
    assert lines_of(two, JOURNAL) == [("fired", 1)]


def test_the_longest_journal_is_measured(server: Server) -> None:
    server.begin("one")
    assert server.files.journal_bytes() == 0
    server.write_line(JOURNAL, "loaded")
    server.write_line(LEDGER, "balance", 12345)
    assert server.files.journal_bytes() == (server.own / layout.CONTROL / LEDGER).stat().st_size


def test_nothing_is_collected_of_a_server_that_writes_into_the_run_itself(tmp_path: Path) -> None:
    files = OwnFiles(tmp_path)
    assert files.log_lines() == 0
    files.log.write_text("one\n")
    files.collect()
    assert files.log_lines() == 1
    assert files.control == tmp_path / layout.CONTROL
