"""The page and the summary of the nights: ten lines, the worst first, offline, nothing decided again."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from history import layout
from kvchaos.errors import UsageError
from kvchaos.nightly.creep_record import Suspicion
from kvchaos.nightly.decision import Decision
from kvchaos.nightly.morning.morning_page import page_html
from kvchaos.nightly.morning.morning_report import MorningReport
from kvchaos.nightly.morning.morning_summary import MAX_BYTES, summary_markdown
from kvchaos.nightly.night_changes import change_lines
from kvchaos.nightly.night_chart import NightAxis, night_chart
from kvchaos.nightly.night_headlines import headlines
from kvchaos.nightly.night_page import compare_command
from kvchaos.nightly.night_records import MeasuredScenario, PairRuns, ServerBuild
from kvchaos.nightly.night_report import NightReport, night_report
from kvchaos.nightly.night_store import NightHistory
from kvchaos.nightly.page_links import PageFolders
from kvchaos.report.headline import MAX_LINES
from tests.support.night_points import OTHER_IDENTITY, SERIES, history_of, night, night_id, point
from tests.support.synthetic_nights import ACCEPTED, BLIND, CREEPING, FIXED, NEW, OLD, synthetic_year

HOSTILE = "<script>window.hit = 1</script>|`x`"
NIGHTS = 120


@pytest.fixture(scope="module")
def year() -> NightHistory:
    """Not a whole one; the steps are at the same shares of it."""
    return synthetic_year(NIGHTS)


@pytest.fixture(scope="module")
def report(year: NightHistory) -> NightReport:
    suspicion = Suspicion(series=CREEPING, night=year.nights[80].night, slowdown=0.04, p=1e-5)
    return night_report(year, [suspicion])


def lines_of(report: NightReport) -> dict[str, str]:
    return {line.label: line.text for line in headlines(report)}


def page_of(report: NightReport, folder: Path, runs: Path | None = None) -> str:
    return page_html(MorningReport(report, None), PageFolders(folder, runs))


def summary_of(report: NightReport) -> str:
    return summary_markdown(MorningReport(report, None))


def test_top_lines_name_each_sort_of_result(report: NightReport) -> None:
    lines = lines_of(report)
    assert len(lines) <= MAX_LINES
    assert lines["Result"].startswith("40 watched series: 3 regressed, 1 improved, 1 blind, 35 same")
    assert NEW in lines["Regressed"]
    assert OLD in lines["Still regressed"]
    assert BLIND in lines["Blind"]
    assert CREEPING in lines["Suspicious"]
    assert lines["Not counted"] == "2 of the runs (the client was late)"
    assert "vLLM 0.33.0.dev119" in lines["Measured"]
    assert "NVIDIA H100" in lines["Measured"]


def test_many_changes_stay_within_ten_lines() -> None:
    names = [f"scenario-{number}/load/ttft-median" for number in range(30)]
    points = [point(1, series=name) for name in names]
    points += [point(2, "blind", series=name) for name in names]
    history = history_of(points)
    lines = headlines(night_report(history))
    assert len(lines) <= MAX_LINES
    assert lines_of(night_report(history))["Blind"].endswith("and 27 more")


def test_control_night_reports_its_changes_as_false_alarms() -> None:
    history = history_of([point(1), point(2, "regressed", 0.08)], kinds={2: "control"})
    lines = lines_of(night_report(history))
    assert lines["Control night"].endswith("all 1 changes are false alarms")
    assert "Regressed" not in lines


def test_new_identity_is_reported_with_what_differs() -> None:
    history = history_of([point(1), point(2, identity=OTHER_IDENTITY)])
    machine = msgspec.structs.replace(history.nights[1].machine, driver="570.86")
    nights = [history.nights[0], msgspec.structs.replace(history.nights[1], machine=machine)]
    lines = lines_of(night_report(NightHistory(nights, history.by_series, history.by_night, [])))
    assert lines["New identity"] == "1 series start a new history: driver none to 570.86"


def test_watched_series_without_a_point_is_blind() -> None:
    history = history_of([point(1), point(1, series="a/b/ttft-p99"), point(2)])
    assert lines_of(night_report(history))["Blind"] == "a/b/ttft-p99 (not measured)"


def test_series_are_ordered_from_the_worst(report: NightReport) -> None:
    ranks = [row.rank for row in report.watched]
    assert ranks[:6] == ["regressed", "regressed", "regressed", "improved", "suspicious", "blind"]
    assert set(ranks[6:]) == {"same"}


def test_open_regression_that_one_screen_missed_stays_on_top() -> None:
    history = history_of([point(1), point(2, "regressed", 0.08), point(3, "same", 0.06)])
    opened = change_lines(history_of([point(1)]), night(2), [point(2, "regressed", 0.08)])
    found = night_report(NightHistory(history.nights, history.by_series, history.by_night, opened))
    assert [row.rank for row in found.watched] == ["still regressed"]
    assert SERIES in lines_of(found)["Still regressed"]


def test_page_needs_no_network_and_runs_no_script(report: NightReport, tmp_path: Path) -> None:
    page = page_of(report, tmp_path)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "url(" not in page
    assert {link.split("/")[2] for link in re.findall(r'href="(https?://[^"]+)"', page)} == {"github.com"}
    assert not re.findall(r'src="', page)


def test_page_shows_each_change_and_its_reason(report: NightReport, tmp_path: Path) -> None:
    page = page_of(report, tmp_path)
    for change in report.changes:
        assert change.id in page
    assert "see pull request 4711" in page
    assert page.count('<article class="card') == 40


def test_text_from_the_history_is_escaped(tmp_path: Path) -> None:
    history = history_of([point(1), point(2, "blind")])
    bad = msgspec.structs.replace(
        history.nights[1],
        model=HOSTILE,
        measured=[MeasuredScenario(scenario=HOSTILE, identity="a" * 16, folder="x", excluded=[HOSTILE])],
    )
    found = night_report(
        NightHistory([history.nights[0], bad], history.by_series, history.by_night, [], [HOSTILE])
    )
    assert "<script" not in page_of(found, tmp_path)
    assert "<script" not in summary_of(found)


def test_links_lead_to_the_reports_that_exist(report: NightReport, tmp_path: Path) -> None:
    measured = report.night.measured[0]
    pair = measured.pairs[0]
    existing = tmp_path / "runs" / measured.folder / pair.control / layout.REPORT
    existing.parent.mkdir(parents=True)
    existing.write_text("")
    page = page_of(report, tmp_path / "history", tmp_path / "runs")
    assert set(re.findall(r'href="(\.\.[^"]+)"', page)) == {
        f"../runs/{measured.folder}/{pair.control}/{layout.REPORT}"
    }


def test_command_repeats_the_measurement() -> None:
    measured = MeasuredScenario(
        scenario="chat-return",
        identity="a" * 16,
        folder="x",
        phase="load",
        rates=[2.0, 4.5],
        seconds=30,
        pairs=[PairRuns(stage="screen", seed=seed, control="c", candidate="d") for seed in (7, 8)],
    )
    assert compare_command(measured, night(2)) == (
        "kvchaos bench compare chat-return --a server=0.32.0 --b server=nightly "
        "--phase load --rates 2,4.5 --seconds 30 --pairs 2 --seed 7"
    )
    assert compare_command(msgspec.structs.replace(measured, pairs=[]), night(2)) is None


def test_builds_are_the_last_good_one_and_the_one_of_the_night(tmp_path: Path) -> None:
    page = page_of(
        night_report(history_of([point(1), point(2, "blind"), point(3, "regressed", 0.08)])), tmp_path
    )
    assert f"/compare/{1:040x}...{3:040x}" in page


def test_chart_marks_changes_breaks_and_the_accepted_level(report: NightReport) -> None:
    axis = NightAxis(report.history.nights)
    charts = {row.series: night_chart(row, axis) for row in report.watched}
    assert [mark.style for mark in charts[FIXED].marks] == ["regressed", "fixed"]
    assert [mark.style for mark in charts[ACCEPTED].marks] == ["regressed", "accepted"]
    assert charts[ACCEPTED].accepted
    assert not charts[FIXED].accepted
    for chart in charts.values():
        assert len(chart.breaks) == 1
        assert len(chart.bands) == 2
        assert chart.candidates.count("M") + chart.controls.count("M") == NIGHTS
        assert chart.controls.count("M") == NIGHTS // 7
        assert chart.intervals.count("M") == NIGHTS


def test_one_night_and_equal_pairs_can_be_drawn(tmp_path: Path) -> None:
    assert 'class="card' in page_of(night_report(history_of([point(1)])), tmp_path)


def test_night_without_points_can_be_drawn(tmp_path: Path) -> None:
    history = NightHistory([night(1)], {}, {night_id(1): ()}, ())
    assert "no data" in page_of(night_report(history), tmp_path)


def test_series_without_pairs_can_be_drawn(tmp_path: Path) -> None:
    empty = msgspec.structs.replace(
        point(1), screen=[], decision=Decision(result="blind", reason="pairs missing")
    )
    assert "pairs missing" in page_of(night_report(history_of([empty])), tmp_path)


def test_history_without_nights_has_no_report() -> None:
    with pytest.raises(UsageError):
        night_report(NightHistory())


def test_summary_has_the_lines_and_a_row_for_each_watched_series(report: NightReport) -> None:
    text = summary_of(report)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 40
    assert rows[2].split(" | ")[:2] == [f"| {report.watched[0].series}", "**regressed**"]
    assert text.count("\n- ") == len(headlines(report))


def test_summary_stays_below_the_limit_of_a_step() -> None:
    points = [point(1, series=f"{'s' * 60}/{number}/ttft-median") for number in range(12_000)]
    assert len(summary_of(night_report(history_of(points))).encode()) <= MAX_BYTES


def test_excluded_runs_are_listed_with_their_reasons(tmp_path: Path) -> None:
    history = history_of([point(1)])
    (measured,) = history.nights[0].measured
    reason = f"unknown: {'the load generator was too slow ' * 5}"
    nights = [
        msgspec.structs.replace(
            history.nights[0],
            measured=[msgspec.structs.replace(measured, excluded=[f"run-{n}: {reason}" for n in (1, 2)])],
        )
    ]
    found = night_report(NightHistory(nights, history.by_series, history.by_night))
    assert lines_of(found)["Not counted"].count("too slow") < 3
    page = page_of(found, tmp_path)
    assert page.count(reason.strip()) == 2
    assert "run-1: " in page


def test_night_that_shows_nothing_is_not_good() -> None:
    found = headlines(night_report(history_of([point(1, "blind")])))
    assert (found[0].label, found[0].tone) == ("Result", "unknown")


def test_server_that_was_there_before_is_named_by_its_url() -> None:
    measured = MeasuredScenario(
        scenario="chat-return",
        identity="a" * 16,
        folder="x",
        pairs=[PairRuns(stage="screen", seed=7, control="c", candidate="d")],
    )
    there = msgspec.structs.replace(night(2), control=ServerBuild(name="127.0.0.1:8000", vllm="0.32.0"))
    assert "--a url=http://127.0.0.1:8000 --b server=nightly" in (compare_command(measured, there) or "")
