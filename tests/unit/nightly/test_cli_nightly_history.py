"""Commands that read the history: page, accept, export, creep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvchaos.cli.nightly_history_commands import (
    ExportFormat,
    accept_command,
    creep_command,
    export_command,
    page_command,
)
from kvchaos.errors import UsageError
from kvchaos.nightly.night_changes import accepted_level, change_lines
from kvchaos.nightly.night_store import append_night, read_nights
from tests.support.fake_programs import write_program
from tests.support.night_points import IDENTITY, SERIES, history_of, night, point

CHANGE = "2026-11-02-chat-return"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two nights; the second regressed."""
    second = point(2, "regressed", 0.08)
    append_night(tmp_path / "history", night(1), [point(1)], [])
    lines = change_lines(history_of([point(1)]), night(2), [second])
    append_night(tmp_path / "history", night(2), [second], lines)
    return tmp_path / "history"


def test_page_prints_the_lines_and_appends_the_summary(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = folder.parent / "summary.md"
    summary.write_text("earlier step\n")
    page_command(folder, summary=summary)
    assert summary.read_text().startswith("earlier step\n# kvchaos nightly, 2026-11-02\n")
    assert CHANGE in (folder / "nightly.html").read_text()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Result: 1 watched series: 1 regressed"
    assert printed[-1] == str(folder / "nightly.html")


def test_accepted_change_is_the_level_of_the_next_night(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accept_command(CHANGE, "known, see 4711", folder)
    assert accepted_level(read_nights(folder), SERIES, IDENTITY) == pytest.approx(0.08)
    assert capsys.readouterr().out == f"{SERIES}: +8.3 % accepted\n"
    with pytest.raises(UsageError, match="is accepted"):
        accept_command(CHANGE, "again", folder)


def test_exports_are_written_into_the_history(folder: Path) -> None:
    export_command(ExportFormat.OPENMETRICS, folder)
    export_command(ExportFormat.PYTORCH, folder, folder / "p.json")
    assert (folder / "history.om").read_text().endswith("# EOF\n")
    assert json.loads((folder / "p.json").read_text())["schema_version"] == "v3"


def test_creep_uses_the_named_otava(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KVCHAOS_OTAVA", str(write_program(folder / "otava", "#!/bin/sh\nexit 1\n")))
    creep_command(folder)
    assert capsys.readouterr().out.startswith("0 suspicious series; ")


def test_folder_without_nights_is_named(tmp_path: Path) -> None:
    for command in (page_command, creep_command):
        with pytest.raises(UsageError, match=str(tmp_path)):
            command(tmp_path)
