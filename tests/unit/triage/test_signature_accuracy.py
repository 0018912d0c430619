"""The shares of signatures: a bug with two of them, two bugs with one, a run that does not show its bug."""

from __future__ import annotations

from benchmarks.signature_accuracy import BUGS, SignatureLine, accuracies, report_lines
from kvchaos.bugs.bug_catalogue import known_bugs
from kvchaos.planning.scenario_file import find_scenario, load_scenario


def line(bug: str, seed: int, *signatures: str) -> SignatureLine:
    return SignatureLine(
        bug=bug,
        server="0.32.0",
        scenario="aborts",
        seed=seed,
        outcome="as expected",
        signatures=list(signatures),
    )


def test_run_with_another_signature_lowers_the_share_of_its_bug() -> None:
    (found,) = accuracies([line("a", 1, "x"), line("a", 2, "x", "y"), line("a", 3, "y"), line("a", 4)])
    assert (found.runs, found.shown, found.signature, found.same) == (4, 3, "x", 2)


def test_bugs_with_one_signature_are_named() -> None:
    found = accuracies([line("a", 1, "x"), line("b", 1, "x"), line("c", 1, "z"), line("d", 1), line("e", 1)])
    assert [list(each.shared_with) for each in found] == [["b"], ["a"], [], [], []]


def test_no_lines_are_no_share() -> None:
    assert list(report_lines([])) == []


def test_each_bug_is_a_known_one_or_a_fault_of_its_scenario() -> None:
    known = {bug.id for bug in known_bugs()}
    for shown in BUGS:
        faults = {fault.id for fault in load_scenario(find_scenario(shown.scenario)).faults}
        assert shown.bug in known | faults
