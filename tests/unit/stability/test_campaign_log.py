"""An interrupted night loses no judged run and counts none twice; the history has whole nights only."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.stability.campaign_log import LOG, CampaignHeader, CampaignLog, read_log, resume_log, start_log
from kvchaos.stability.campaign_records import CampaignRun, SignatureCount, StabilityNight
from kvchaos.stability.run_retention import keep_verdicts_only
from kvchaos.stability.stability_store import (
    NIGHTS,
    SIGNATURES,
    append_stability,
    read_stability,
)

NIGHT = "2026-11-30T02:00:00Z"
HEADER = CampaignHeader(night=NIGHT, server="0.32.0", build="0.32.0", stack="local", budget_s=600.0)


def run(number: int) -> CampaignRun:
    return CampaignRun(
        number=number,
        category="new",
        scenario="aborts",
        seed=number,
        outcome="as expected",
        run=f"run-{number}",
        seconds=20.0,
    )


def log_of(folder: Path, count: int) -> CampaignLog:
    log = start_log(folder, HEADER)
    for number in range(count):
        log.add(run(number))
    return log


def night(date: str = NIGHT) -> StabilityNight:
    return StabilityNight(
        night=date,
        build="0.32.0",
        runs=1,
        outcomes={"as expected": 1},
        categories={"new": 1},
        positive_control="found",
        seconds=20.0,
        complete=True,
    )


def line(date: str = NIGHT) -> SignatureCount:
    return SignatureCount(
        night=date, build="0.32.0", signature="logs/exception: E", count=1, examples=[("aborts", 1, "run-1")]
    )


def test_resumed_night_goes_on_after_its_last_judged_run(tmp_path: Path) -> None:
    log_of(tmp_path, 3)
    again = resume_log(tmp_path)
    assert (again.header, again.next_number, again.used_s) == (HEADER, 3, 60.0)
    again.add(run(3))
    assert [each.number for each in read_log(tmp_path).runs] == [0, 1, 2, 3]


@pytest.mark.parametrize("cut", range(1, 120, 17))
def test_kill_while_a_line_is_written_loses_that_line_only(tmp_path: Path, cut: int) -> None:
    log_of(tmp_path, 3)
    path = tmp_path / LOG
    path.write_bytes(path.read_bytes()[:-cut])
    again = resume_log(tmp_path)
    assert again.next_number == 2
    again.add(run(2))
    assert read_log(tmp_path).next_number == 3


def test_reading_the_log_of_a_running_night_writes_nothing(tmp_path: Path) -> None:
    log_of(tmp_path, 3)
    path = tmp_path / LOG
    path.write_bytes(path.read_bytes()[:-20])
    before = path.read_bytes()
    assert read_log(tmp_path).next_number == 2
    assert path.read_bytes() == before


def test_run_out_of_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run 5"):
        log_of(tmp_path, 3).add(run(5))


def test_log_with_a_missing_run_is_one_line(tmp_path: Path) -> None:
    log_of(tmp_path, 3)
    path = tmp_path / LOG
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(UsageError, match=f"{LOG}:3"):
        read_log(tmp_path)


def test_folder_without_a_log_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=LOG):
        read_log(tmp_path / "none")


def test_night_is_stored_once(tmp_path: Path) -> None:
    append_stability(tmp_path, night(), [line()])
    with pytest.raises(UsageError, match=NIGHT):
        append_stability(tmp_path, night(), [line()])
    found = read_stability(tmp_path)
    assert (len(found.nights), len(found.signatures)) == (1, 1)


def test_signatures_without_their_night_do_not_count_and_are_replaced(tmp_path: Path) -> None:
    append_stability(tmp_path, night(), [line()])
    (tmp_path / NIGHTS).unlink()
    assert read_stability(tmp_path).signatures == []
    append_stability(tmp_path, night(), [line()])
    assert len(read_stability(tmp_path).signatures) == 1


def test_broken_line_of_the_history_is_named(tmp_path: Path) -> None:
    append_stability(tmp_path, night(), [line()])
    with (tmp_path / SIGNATURES).open("ab") as file:
        file.write(b'{"night": 3}\n')
    with pytest.raises(UsageError, match=f"{SIGNATURES}:2"):
        read_stability(tmp_path)


def test_only_the_verdict_of_an_expected_run_stays(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / f"run-{number}" / "plugin"
        folder.mkdir(parents=True)
        (folder / "module.py").write_text("")
        for name in ("verdict.json", "server.log"):
            (folder.parent / name).write_text("{}")
    unknown = CampaignRun(
        number=1,
        category="new",
        scenario="aborts",
        seed=1,
        outcome="unknown",
        run="run-1",
        seconds=20.0,
    )
    assert keep_verdicts_only(tmp_path, [run(0), unknown]) == 1
    assert [path.name for path in (tmp_path / "run-0").iterdir()] == ["verdict.json"]
    assert len(list((tmp_path / "run-1").iterdir())) == 3
