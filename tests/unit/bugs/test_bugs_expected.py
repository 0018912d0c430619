"""The known bugs of a release decide what a run expects.

With one too few a run is not as expected; with one too many another bug goes undetected.
"""

from __future__ import annotations

from typing import Any

import pytest
from packaging.version import Version

from history.expected_findings import Expectation
from history.scenario import Scenario
from kvchaos.bugs.bug_catalogue import (
    KnownBug,
    certain_somewhere,
    expectation_for,
    expected_somewhere,
    known_bugs,
    parse_bug,
)
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from tests.support.synthetic_records import make_plan

DIES: dict[str, object] = {"scenario": "mine", "always": ["server-alive/died"]}
LEAKS: dict[str, object] = {"scenario": "mine", "always": ["drained/blocks-leaked"], "by_chance": ["logs"]}


def bug(number: int, *shows: dict[str, object], **changes: object) -> KnownBug:
    content: dict[str, Any] = {
        "id": f"vllm-{number}",
        "title": "It stops",
        "releases": ">=0.16,<0.19",
        "mechanism": "It waits for itself.",
        "shows": list(shows),
        **changes,
    }
    return parse_bug(content)


def scenario(**changes: object) -> Scenario:
    return make_plan().scenario.model_copy(update={"name": "mine", "expect": None, **changes})


def expected(*bugs: KnownBug, release: str = "0.18.0", **changes: object) -> Expectation:
    return expectation_for(scenario(**changes), Version(release), bugs)


def test_release_with_a_bug_is_expected_to_break_its_rules() -> None:
    found = expected(bug(1, DIES))
    assert (found.fail, found.collateral, found.issue) == (("server-alive/died",), (), "vllm#1")
    assert [(named.id, named.always) for named in found.bugs] == [("vllm-1", ("server-alive/died",))]


def test_findings_of_two_bugs_are_expected_together() -> None:
    found = expected(bug(1, DIES), bug(2, LEAKS))
    assert found.fail == ("server-alive/died", "drained/blocks-leaked")
    assert found.collateral == ("logs",)
    assert found.issue == "vllm#1, vllm#2"


@pytest.mark.parametrize(
    ("shows", "changes", "release"),
    [
        (DIES, {}, "0.19.0"),
        ({**DIES, "releases": ">=0.17,<0.18"}, {}, "0.18.0"),
        ({**DIES, "scenario": "other"}, {}, "0.18.0"),
        # A fault declares it, so that the plan has it as an effect.
        ({**DIES, "declared_by": "copy_failed"}, {}, "0.18.0"),
    ],
)
def test_a_bug_of_another_release_or_scenario_or_of_a_fault_is_not_expected(
    shows: dict[str, object], changes: dict[str, object], release: str
) -> None:
    assert expected(bug(1, shows, **changes), release=release) == Expectation(releases=f"=={release}")


def test_bug_hidden_by_another_one_shows_by_chance_only() -> None:
    hiding = bug(1, {**DIES, "hides": ["vllm-2"]}, releases=">=0.18,<0.19")
    found = expected(hiding, bug(2, LEAKS))
    assert found.fail == ("server-alive/died",)
    assert "drained/blocks-leaked" in found.collateral
    assert expected(hiding, bug(2, LEAKS), release="0.17.0").fail == ("drained/blocks-leaked",)


def test_scenario_expectation_overrides_known_bugs() -> None:
    own = Expectation(releases=">=0.18", fail=("logs",), issue="mine")
    assert expected(bug(1, DIES), expect=(own,)) == own
    assert expected(bug(1, DIES), expect=(own,), release="0.17.0").fail == ()
    assert expected(bug(1, DIES), expect=()).fail == ()


def test_findings_without_a_known_bug_file_are_not_expected() -> None:
    scenario = load_scenario(find_scenario("mid-prefill-preemption"))
    bugs = known_bugs()
    others = [known for known in bugs if known.id != "vllm-36533"]
    assert "server-alive/died" in expectation_for(scenario, Version("0.18.0"), bugs).fail
    assert expectation_for(scenario, Version("0.18.0"), others).fail == ()


# By release and scenario: what must be broken, and what may be.
RESOLVED: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    ("0.18.0", "evict-storm"): ({"server-alive/died", "counters/decrement-refused"}, set()),
    ("0.19.1", "evict-storm"): ({"accounting/prompt-tokens-by-source"}, set()),
    ("0.19.1", "mid-prefill-preemption"): ({"progress/deadlock"}, {"accounting/prompt-tokens-by-source"}),
    ("0.22.1", "mid-prefill-preemption"): (set(), {"progress/deadlock"}),
    ("0.24.0", "mid-prefill-preemption"): (set(), set()),
    ("0.22.1", "parameter-mix"): (
        {"outcomes"},
        {"server-alive/died", "logs/request-exception", "logs/exception"},
    ),
    ("0.28.0", "parameter-mix"): ({"accounting/tier-lookups-exceed-misses"}, set()),
    ("0.20.2", "evict-storm"): (set(), set()),
    ("0.26.0", "aborts"): ({"server-alive/died"}, {"accounting/abandoned-requests"}),
    ("0.32.0", "aborts"): ({"accounting/abandoned-requests"}, set()),
    ("0.32.0", "abort-queued"): (set(), {"accounting/abandoned-requests"}),
    ("0.22.1", "deadlock-warm-tier"): ({"progress/deadlock"}, set()),
    ("0.24.0", "deadlock-warm-tier"): (set(), set()),
    ("0.19.1", "false-accounting"): ({"accounting/lookups-exceed-prompts"}, set()),
    ("0.32.0", "failed-copy"): (set(), set()),
    ("0.32.0", "baseline-offload"): (set(), set()),
}


@pytest.mark.parametrize(("release", "name"), RESOLVED)
def test_packaged_scenarios_expect_the_bugs_of_a_release(release: str, name: str) -> None:
    found = expectation_for(load_scenario(find_scenario(name)), Version(release), known_bugs())
    assert (set(found.fail), set(found.collateral)) == RESOLVED[release, name]


def test_run_order_uses_bugs_of_any_release() -> None:
    bugs = (bug(1, DIES), bug(2, LEAKS, releases=">=0.30"), bug(3, {**DIES, "scenario": "other"}))
    assert expected_somewhere(scenario(), bugs) == {"server-alive/died", "drained/blocks-leaked", "logs"}
    assert certain_somewhere(scenario(), bugs) == {"server-alive/died", "drained/blocks-leaked"}
    assert expected_somewhere(scenario(expect=()), bugs) == set()
