"""A cause that a known bug explains is named with it; another one of its rule must never hide behind it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from packaging.version import Version

from history import layout
from history.expected_findings import Expectation, ExpectedBug
from history.reader import read_history
from history.verdict import RunVerdict
from kvchaos.bugs.bug_catalogue import known_bugs, of_bugs
from kvchaos.judging.judge_run import judge, judge_run_dir
from kvchaos.planning.run_plan import write_plan
from kvchaos.report.verdict_text import bug_text, cause_lines
from tests.support.histories import Run
from tests.support.run_dirs import write_run
from tests.unit.oracles.test_causes import CRASH, RECORD, crashed

DIED = "server-alive/died"
LINK = "https://github.com/vllm-project/vllm/issues/36533"
DIES = ExpectedBug(
    id="vllm-36533",
    reference="vllm#36533",
    title="It dies",
    mechanism="It counts backwards.",
    link=LINK,
    always=(DIED,),
    signatures=(RECORD,),
)
LATE = ExpectedBug(
    id="vllm-2",
    reference="vllm#2",
    title="It is late",
    mechanism="It waits.",
    by_chance=("answers/not-golden",),
)
OTHER_CRASH = CRASH.replace("metrics/loggers.py", "engine/core.py")


def expecting(*bugs: ExpectedBug) -> Expectation:
    return Expectation(
        releases="==0.18.0",
        fail=tuple(rule for bug in bugs for rule in bug.always),
        collateral=tuple(rule for bug in bugs for rule in bug.by_chance),
        issue=", ".join(bug.reference for bug in bugs),
        bugs=bugs,
    )


def run_of(expectation: Expectation, log: str = CRASH) -> Run:
    run = crashed(*log.splitlines())
    run.plan = run.plan.model_copy(update={"expectation": expectation})
    return run


def missing_parts(text: str, *parts: str) -> list[str]:
    return [part for part in parts if part not in text]


def verdict(*bugs: ExpectedBug, log: str = CRASH) -> RunVerdict:
    return judge(run_of(expecting(*bugs), log).history())


def test_cause_of_a_known_bug_carries_its_id() -> None:
    found = verdict(DIES)
    assert found.outcome == "as expected"
    assert [(cause.rule, cause.known_bugs, cause.unexplained) for cause in found.causes] == [
        (DIED, ["vllm-36533"], False)
    ]
    assert [(bug.id, bug.explains, bug.missing) for bug in found.bugs] == [("vllm-36533", {DIED: 1}, [])]


def test_crash_with_a_different_signature_is_not_the_known_bug() -> None:
    found = verdict(DIES, log=OTHER_CRASH)
    assert found.outcome == "not as expected"
    assert [(cause.known_bugs, cause.unexplained) for cause in found.causes] == [([], True)]
    assert [(bug.explains, bug.missing) for bug in found.bugs] == [({}, [DIED])]


def test_bug_without_signatures_matches_by_its_rules() -> None:
    assert verdict(DIES.model_copy(update={"signatures": ()}), log=OTHER_CRASH).outcome == "as expected"


def test_missing_deterministic_bug_is_not_as_expected() -> None:
    leaks = DIES.model_copy(update={"id": "vllm-3", "always": ("drained/blocks-leaked",), "signatures": ()})
    found = verdict(DIES, leaks)
    assert found.outcome == "not as expected"
    assert [bug.missing for bug in found.bugs] == [[], ["drained/blocks-leaked"]]


def test_missing_intermittent_bug_is_only_noted() -> None:
    found = verdict(DIES, LATE)
    assert found.outcome == "as expected"
    assert [(bug.id, bug.explains, bug.missing) for bug in found.bugs][1:] == [("vllm-2", {}, [])]
    assert any("vllm#2" in line for line in cause_lines(found))


def test_cause_without_a_known_bug_shows_its_signature() -> None:
    found = judge(run_of(Expectation(releases="==0.18.0")).history())
    assert found.outcome == "not as expected"
    (line,) = cause_lines(found)
    assert RECORD in line
    assert [cause.unexplained for cause in found.causes] == [True]


def test_an_expectation_of_a_scenario_file_explains_without_a_bug() -> None:
    own = Expectation(releases="==0.18.0", fail=(DIED,), issue="mine")
    found = judge(run_of(own).history())
    assert (found.outcome, found.bugs) == ("as expected", [])
    assert [cause.unexplained for cause in found.causes] == [False]


def test_bug_text_has_mechanism_and_link() -> None:
    (shown,) = verdict(DIES).bugs
    (absent,) = verdict(DIES, log=OTHER_CRASH).bugs
    assert missing_parts(bug_text(shown), DIES.reference, DIES.title, DIES.mechanism, LINK) == []
    assert missing_parts(bug_text(absent), DIES.reference, DIED, LINK) == []


@pytest.mark.parametrize("name", [layout.JUNIT, layout.SUMMARY, layout.REPORT])
def test_every_report_names_the_bug_with_mechanism_and_link(tmp_path: Path, name: str) -> None:
    write_run(run_of(expecting(DIES)), tmp_path / "run")
    judge_run_dir(tmp_path / "run")
    text = (tmp_path / "run" / name).read_text(encoding="utf-8")
    assert missing_parts(text, DIES.reference, DIES.mechanism, LINK) == []


def test_junit_fails_the_case_of_an_oracle_whose_crash_is_another(tmp_path: Path) -> None:
    write_run(run_of(expecting(DIES), OTHER_CRASH), tmp_path / "run")
    judge_run_dir(tmp_path / "run")
    (suite,) = ET.parse(tmp_path / "run" / layout.JUNIT).getroot()
    failed = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert failed == {"run", "server-alive"}


def test_stored_run_without_its_known_bug_file_is_not_as_expected(tmp_path: Path) -> None:
    release, bugs = Version("0.18.0"), known_bugs()
    run = run_of(expecting(DIES))
    run.change_request(3, outcome="error", status=400)
    write_run(run, tmp_path / "run")
    others = [bug for bug in bugs if bug.id != "vllm-36533"]
    outcomes = []
    for known in (bugs, others):
        plan = read_history(tmp_path / "run").plan
        expectation = of_bugs("mid-prefill-preemption", release, known)
        write_plan(plan.model_copy(update={"expectation": expectation}), tmp_path / "run")
        outcomes.append(judge(read_history(tmp_path / "run")).outcome)
    assert outcomes == ["as expected", "not as expected"]
