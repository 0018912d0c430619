"""Issue texts of a night: for new signatures that nothing explains, and for a few only."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.nightly.job.new_issues import MOST, new_signatures, write_new_issues
from kvchaos.stability.campaign_records import StabilityNight
from kvchaos.stability.issue_links import IssueLinks, IssueRule
from kvchaos.stability.signature_states import State, TrackedSignature
from kvchaos.stability.stability_report import StabilityReport
from tests.support.run_dirs import write_run
from tests.support.stability_nights import quiet_night, signature_line
from tests.support.triage_runs import load_run

SIGNATURE = "server-alive/bad-exit: server"


def tracked(signature: str, state: State = "new", bugs: list[str] | None = None) -> TrackedSignature:
    line = signature_line(20, signature, bugs)
    return TrackedSignature(signature, state, line.night, line.night, 1, 1, [line])


def report_of(*signatures: TrackedSignature, links: IssueLinks | None = None) -> StabilityReport:
    night: StabilityNight = quiet_night(20)
    return StabilityReport(night, list(signatures), links=links or IssueLinks())


@pytest.mark.parametrize(
    ("signature", "wanted"),
    [
        (tracked("a/b: c"), True),
        (tracked("a/b: c", "back"), False),
        (tracked("a/b: c", bugs=["vllm-57596"]), False),
        (tracked("linked/b: c"), False),
        (tracked("exact/b: request after evict"), False),
    ],
)
def test_text_is_for_new_signatures_without_explanation(signature: TrackedSignature, wanted: bool) -> None:
    rules = ("linked/*", "exact/b: request")
    links = IssueLinks(tuple(IssueRule(signature=each, issue="https://example.org/1") for each in rules))
    assert bool(list(new_signatures(report_of(signature, links=links)))) == wanted


def test_night_with_many_signatures_has_a_few_texts(tmp_path: Path) -> None:
    report = report_of(*(tracked(f"a/b: {number}") for number in range(MOST + 2)))
    assert len(write_new_issues(report, tmp_path, tmp_path / "issues")) == MOST


def test_text_is_that_of_the_stored_run(tmp_path: Path) -> None:
    run = load_run()
    run.events[-1].data["code"] = -11
    write_run(run, tmp_path / "run-0")
    (path,) = write_new_issues(report_of(tracked(SIGNATURE)), tmp_path, tmp_path / "issues")
    assert path.read_text().startswith("# [Bug]: ")
    assert path.with_suffix(".py").is_file()
