"""Reports tell the same outcome to a machine, a CI page and a terminal and hide nothing behind colour."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from history.expected_findings import Expectation
from history.verdict import SERVER, Finding, OracleResult, Subject, Verdict, log_line, metric, request
from kvchaos.judging.judge_run import judge
from kvchaos.report.verdict_text import evidence_lines, finding_text, junit_xml, summary_text
from oracles import judges_of
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import PROMPT, START_NS, make_plan

SEED_BUG = Expectation(releases=">=0.16", fail=("counters",), collateral=("logs",), issue="vllm#36533")
CASES = str(len(judges_of(make_plan())) + 1)
"""One for each oracle, and one for the run."""
REFUSED = "ValueError: Counters can only be incremented by non-negative amounts."


def seed_bug_run() -> Run:
    run = clean_run(make_plan(expectation=SEED_BUG))
    run.log[2] = REFUSED
    return run


def cases(run: Run) -> dict[str, ET.Element]:
    history = run.history()
    root = ET.fromstring(junit_xml(history.plan, judge(history)))
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def suite(run: Run) -> dict[str, str]:
    history = run.history()
    found = ET.fromstring(junit_xml(history.plan, judge(history))).find("testsuite")
    assert found is not None
    return {key: found.attrib[key] for key in ("tests", "failures", "errors", "skipped")}


def test_junit_of_a_clean_run_is_all_green() -> None:
    assert suite(clean_run()) == {"tests": CASES, "failures": "0", "errors": "0", "skipped": "0"}


def test_junit_is_valid_xml_for_any_plan() -> None:
    run = clean_run()
    versions = run.plan.versions.model_copy(update={"server_name": "mine\x00 <&>"})
    run.plan = run.plan.model_copy(update={"versions": versions, "created": "\x1b"})
    assert suite(run)["failures"] == "0"


def test_junit_an_expected_failure_passes_with_its_text() -> None:
    run = seed_bug_run()
    case = cases(run)["counters"]
    assert case.find("failure") is None
    assert case.find("error") is None
    assert REFUSED in (case.findtext("system-out") or "")
    assert suite(run) == {"tests": CASES, "failures": "0", "errors": "0", "skipped": "1"}


def test_junit_an_expected_failure_that_passes_is_a_failure() -> None:
    run = clean_run(make_plan(expectation=SEED_BUG))
    assert cases(run)["counters"].find("failure") is not None
    assert cases(run)["run"].find("failure") is not None


def test_junit_an_unexpected_failure_is_a_failure_with_evidence() -> None:
    run = clean_run()
    record = run.change_request(4, finish_reason="abort")
    assert record.id in (cases(run)["outcomes"].findtext("failure") or "")


def test_junit_unknown_is_an_error() -> None:
    run = clean_run()
    run.drop_events("leak_probe")
    assert cases(run)["drained"].find("error") is not None
    assert cases(run)["run"].find("error") is not None


def test_junit_an_interrupted_run_is_never_green() -> None:
    run = clean_run()
    run.event("interrupted", signal="SIGINT")
    assert suite(run)["errors"] == "1"
    assert cases(run)["run"].find("error") is not None


def test_junit_is_valid_xml_for_any_log() -> None:
    run = clean_run()
    run.log[2] = "\x1b[31mAssertionError\x00\x1b[0m <a & b> \ud800 ]]>"
    assert "<a & b>" in (cases(run)["logs"].findtext("failure") or "")


def test_summary_has_outcome_evidence_versions_seed_and_the_command() -> None:
    run = seed_bug_run()
    history = run.history()
    text = summary_text(history.plan, judge(history))
    assert "## synthetic on cpu-0.32.0: as expected" in text
    assert "| counters | ✗ fail | as expected |" in text
    assert "server.log line 3" in text
    assert "vLLM 0.32.0" in text
    assert "kvchaos run synthetic --server cpu-0.32.0 --seed 7" in text


def test_summary_escapes_untrusted_text_in_a_cell() -> None:
    run = clean_run()
    run.log[2] = "AssertionError a | b <script> `c`"
    history = run.history()
    text = summary_text(history.plan, judge(history))
    row = next(line for line in text.splitlines() if line.startswith("| logs"))
    assert "a \\| b &lt;script&gt; \\`c\\`" in row


@pytest.mark.parametrize(
    ("subject", "description", "samples", "text"),
    [
        (request("r-1"), "a wrong answer", [], "a wrong answer [a/b; request r-1]"),
        (request("r-1"), "request r-1 is wrong", [], "request r-1 is wrong [a/b]"),
        (log_line(7), "a crash", [], "a crash [a/b; server.log line 7]"),
        (
            metric(PROMPT),
            "shrank",
            [(START_NS, 5.0), (START_NS + 250_000_000, 3.0)],
            f"shrank [a/b; {PROMPT}; 5 at 08:00:00.000Z -> 3 at 08:00:00.250Z]",
        ),
    ],
)
def test_finding_links_to_its_evidence(
    subject: Subject, description: str, samples: list[tuple[int, float]], text: str
) -> None:
    assert finding_text(Finding(rule="a/b", subject=subject, text=description, samples=samples)) == text


def test_evidence_counts_its_omitted_entries() -> None:
    result = OracleResult(
        oracle="logs",
        verdict=Verdict.FAIL,
        summary="",
        findings=[Finding(rule="logs/exception", subject=SERVER, text="one")],
        violations=8,
    )
    assert evidence_lines(result) == ["one [logs/exception]", "and 7 more"]
