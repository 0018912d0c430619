"""Every report names the fault that explains a finding, and the effect that did not come."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console

from kvchaos.judging.judge_run import judge
from kvchaos.report.html.report_page import full_page, report_html
from kvchaos.report.verdict_text import junit_xml, summary_text
from kvchaos.terminal.result_tables import CampaignRow, campaign_table, show_run, verdict_line
from tests.support.contract_violating_runs import differ, struck, verdict
from tests.support.histories import Run

EXPLAINED = "fault f1 (bit_flip) explains 1 finding of answers/not-golden"


def explained() -> Run:
    run = struck("bit_flip", 1)
    differ(run, 1)
    return run


def shown(run: Run) -> str:
    out = StringIO()
    show_run(Console(file=out, width=160), run.plan, verdict(run), Path("runs/one"))
    return out.getvalue()


def junit(run: Run) -> dict[str, ET.Element]:
    suite = ET.fromstring(junit_xml(run.plan, verdict(run)))
    return {str(case.get("name")): case for case in suite.iter("testcase")}


def test_the_terminal_shows_what_is_explained() -> None:
    text = shown(explained())
    assert EXPLAINED in text
    assert "✗ fail, explained" in text


def test_the_terminal_marks_the_oracle_that_had_to_fail() -> None:
    assert "✓ pass, must fail" in shown(struck("bit_flip", 1))


def test_a_campaign_names_the_oracle_and_the_fault() -> None:
    row = CampaignRow(verdict(explained()), Path("runs/one"))
    assert verdict_line(row, 3.0).plain.endswith("expected failures: answers")
    out = StringIO()
    Console(file=out, width=160).print(campaign_table([row], 160))
    assert "answers (fault f1)" in out.getvalue()


def test_the_summary_shows_what_is_explained() -> None:
    text = summary_text(explained().plan, verdict(explained()))
    assert f"- {EXPLAINED}" in text
    assert "| answers | ✗ fail | explained by a fault |" in text


def test_junit_passes_a_case_that_a_fault_explains_and_names_the_fault() -> None:
    cases = junit(explained())
    (output,) = cases["answers"]
    assert output.tag == "system-out"
    assert "explained by fault f1" in str(output.text)
    assert EXPLAINED in str(cases["run"].findtext("system-out"))


def test_junit_fails_the_oracle_with_a_missing_effect() -> None:
    cases = junit(struck("bit_flip", 1))
    assert cases["answers"].find("failure") is not None
    assert cases["run"].find("failure") is not None


def test_the_report_shows_what_is_explained_and_what_is_missing() -> None:
    history = explained().history()
    page = full_page(history, judge(history))
    assert page.drawn is not None
    assert [(step.observed, step.detail) for step in page.drawn.faults[0].steps][-1] == (
        True,
        "answers/not-golden (1)",
    )
    assert "declared effects of its faults" in report_html(history, judge(history))
    history = struck("bit_flip", 1).history()
    page = full_page(history, judge(history))
    assert page.drawn is not None
    assert not page.drawn.faults[0].steps[-1].observed
