"""The page of a night with the comparison and the search: ten lines have each sort of news, links lead on."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from history import layout
from kvchaos.errors import UsageError
from kvchaos.nightly.morning.morning_page import page_html
from kvchaos.nightly.morning.morning_report import MorningReport, morning_report
from kvchaos.nightly.morning.morning_summary import summary_markdown
from kvchaos.nightly.night_changes import change_lines
from kvchaos.nightly.night_report import night_report
from kvchaos.nightly.night_store import NightHistory
from kvchaos.nightly.page_links import PageFolders
from kvchaos.report.headline import MAX_LINES, Headline, joined
from kvchaos.stability.issue_links import read_issue_links
from kvchaos.stability.stability_report import StabilityReport
from kvchaos.stability.stability_summary import stability_headlines
from tests.support.night_points import history_of, night, point
from tests.support.stability_nights import BACK, BUG, GONE, KNOWN, NEW, TONIGHT, write_stability

HOSTILE = "<script>window.hit = 1</script>|`x`"


@pytest.fixture
def stability(tmp_path: Path) -> StabilityReport:
    write_stability(tmp_path / "history", tmp_path / "runs")
    found = morning_report(tmp_path / "history", tmp_path / "runs").stability
    assert found is not None
    return found


@pytest.fixture
def report(stability: StabilityReport) -> MorningReport:
    other = "b/load/itl-median"
    worse = point(2, "regressed", 0.08)
    history = history_of([point(1), point(1, series=other), worse, point(2, "blind", series=other)])
    opened = change_lines(history_of([point(1)]), night(2), [worse])
    return MorningReport(
        night_report(NightHistory(history.nights, history.by_series, history.by_night, opened)), stability
    )


def page_of(report: MorningReport, folder: Path) -> str:
    return page_html(report, PageFolders(folder / "history", folder / "runs"))


def test_ten_lines_have_each_sort_of_news(report: MorningReport) -> None:
    lines = report.headlines()
    assert len(lines) <= MAX_LINES
    found = {line.label: line for line in lines}
    assert {"Result", "Stability", "Positive control", "New", "Back", "Gone", "Regressed", "Blind"} <= set(
        found
    )
    assert (NEW in found["New"].text, BACK in found["Back"].text, GONE in found["Gone"].text) == (True,) * 3
    assert found["Positive control"].text.startswith("absent")
    assert found["Unknown"].text == "1 of a gap; infrastructure: 1 of client"
    assert {found[name].tone for name in ("Stability", "Positive control", "New", "Back", "Regressed")} == {
        "bad"
    }


def test_lines_that_do_not_fit_are_the_least_important_ones() -> None:
    def line(number: int, tone: str) -> Headline:
        return Headline("bad" if tone == "bad" else "note", f"{tone}-{number}", "text")

    lines = joined(
        [line(0, "note"), *(line(n, "bad") for n in range(1, 9))], [line(0, "note"), line(9, "note")]
    )
    assert [each.label for each in lines] == ["note-0", "note-0", *(f"bad-{n}" for n in range(1, 9))]


def test_ongoing_signature_of_a_known_bug_raises_no_alarm(stability: StabilityReport) -> None:
    found = {line.label: line for line in stability_headlines(stability)}
    assert (found["Ongoing"].text, found["Ongoing"].tone) == (f"{KNOWN} ({BUG})", "note")


def test_grid_has_a_row_for_each_judged_run_the_worst_first(report: MorningReport, tmp_path: Path) -> None:
    page = page_of(report, tmp_path)
    rows = re.findall(r'<tr class="([a-z-]+)"><th scope="row">', page)
    assert [row for row in rows if row != "signature"] == ["not-as-expected"] * 2 + ["unknown"] * 2 + [
        "as-expected"
    ] * 2
    assert page.count('class="cell fail"') == 3
    assert page.count('class="cell pass"') == 3 * len(TONIGHT) - 3


def test_links_lead_to_the_reports_that_exist(report: MorningReport, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "soak-tonight" / "run-0"
    (run / layout.REPORT).touch()
    links = set(re.findall(r'href="(\.\.[^"]+)"', page_of(report, tmp_path)))
    assert links == {f"../runs/soak-tonight/run-0/{layout.REPORT}"}


def test_page_has_the_command_of_each_signature_and_each_run_that_failed(
    report: MorningReport, tmp_path: Path
) -> None:
    page = page_of(report, tmp_path)
    for number in (0, 1, 2, 3, 4):
        assert f"kvchaos run aborts --server 0.32.0 --seed {100 + number}" in page


def test_runs_whose_folder_is_not_here_are_counted(tmp_path: Path) -> None:
    write_stability(tmp_path / "history", tmp_path / "runs")
    report = morning_report(tmp_path / "history", tmp_path / "elsewhere")
    assert f"{len(TONIGHT)} of {len(TONIGHT)} runs have no stored verdict" in page_html(
        report, PageFolders(tmp_path, tmp_path / "elsewhere")
    )


def test_page_of_a_comparison_alone_shows_no_search(tmp_path: Path) -> None:
    page = page_of(MorningReport(night_report(history_of([point(1)])), None), tmp_path)
    assert "h-signatures" not in page
    assert 'class="card' in page


def test_page_of_a_search_alone_shows_no_series(stability: StabilityReport, tmp_path: Path) -> None:
    page = page_of(MorningReport(None, stability), tmp_path)
    assert "h-series" not in page
    assert "vLLM 0.32.0" in page


def test_history_without_any_night_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        morning_report(tmp_path, None)


def test_issue_is_that_of_the_first_rule_that_matches(tmp_path: Path) -> None:
    write_stability(tmp_path / "history", tmp_path / "runs")
    url = "https://example.org/issues"
    (tmp_path / "history" / "issues.yaml").write_text(
        f"- {{signature: 'server-alive/died: KeyError *', issue: '{url}/1'}}\n"
        f"- {{signature: 'server-alive/*', issue: '{url}/2'}}\n"
    )
    report = morning_report(tmp_path / "history", tmp_path / "runs")
    assert f'href="{url}/1"' in page_of(report, tmp_path)
    assert f"{url}/1" in summary_markdown(report)
    assert read_issue_links(tmp_path / "history").issue("server-alive/hung") == f"{url}/2"


@pytest.mark.parametrize(
    "text",
    [
        "- {signature: x}",
        "- {signature: x, issue: 'http://x'}",
        "{",
        "- {signature: x, issue: 'https://x', y: 1}",
    ],
)
def test_bad_issue_file_is_named_with_its_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "issues.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_issue_links(tmp_path)
    assert str(tmp_path / "issues.yaml") in str(caught.value)


def test_text_of_signatures_is_escaped(stability: StabilityReport, tmp_path: Path) -> None:
    tracked = stability.tracked[0]
    hostile = [msgspec.structs.replace(line, signature=HOSTILE, bugs=[HOSTILE]) for line in tracked.counts]
    changed = StabilityReport(
        msgspec.structs.replace(stability.night, unknown={HOSTILE: 1}),
        [type(tracked)(HOSTILE, "new", tracked.first_night, tracked.last_night, 1, 1, hostile)],
        stability.runs,
        stability.verdicts,
    )
    report = MorningReport(None, changed)
    assert "<script" not in page_of(report, tmp_path)
    assert "<script" not in summary_markdown(report)


def test_damaged_verdict_of_a_night_is_named(tmp_path: Path) -> None:
    write_stability(tmp_path / "history", tmp_path / "runs")
    path = tmp_path / "runs" / "soak-tonight" / "run-1" / layout.VERDICT
    path.write_text("{")
    with pytest.raises(UsageError) as caught:
        morning_report(tmp_path / "history", tmp_path / "runs")
    assert str(path) in str(caught.value)
