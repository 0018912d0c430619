"""A bisection with runs: how often a release is run, and what it says about those that cannot be run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kvchaos.campaign.run_budget import RunBudget
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.triage.bisection_result import Bisection
from kvchaos.triage.failure_signature import Observation
from kvchaos.triage.release_probes import ReleaseProber
from kvchaos.triage.repeated_trials import ConductedRun, NotShownAgain
from tests.support.fake_server_runs import register_fake
from tests.support.triage_runs import FAILURE, LoggedTrials

FIRST_TRIES = 2
"""Runs of each release without the failure, as long as all others show it always."""
NAMES = [f"0.{minor}.0" for minor in range(16, 33)]


@pytest.fixture
def servers(tmp_path: Path) -> list[ServerEnv]:
    return [register_fake(tmp_path / "cache", name, name) for name in NAMES]


def bisected(
    servers: list[ServerEnv],
    trials: LoggedTrials,
    observe: Callable[[ServerEnv], Observation],
    absent: tuple[int, ...] = (),
) -> Bisection:
    def conduct(server: ServerEnv) -> ConductedRun:
        return ConductedRun(observe(server), 1.0)

    prober = ReleaseProber(servers, conduct, trials.trials)
    return prober.run(NAMES.index("0.20.0"), absent, "failing-1", FAILURE)


def in_range(server: ServerEnv) -> Observation:
    return "shows" if "0.19" <= server.vllm[:4] <= "0.24" else "absent"


def test_first_and_last_release_are_found(tmp_path: Path, servers: list[ServerEnv]) -> None:
    found = bisected(servers, LoggedTrials(tmp_path), in_range).found
    assert found is not None
    assert (found.first, found.last) == ("0.19.0", "0.24.0")
    assert (found.absent_before, found.absent_after) == ("0.18.0", "0.25.0")


def test_release_without_the_failure_is_run_until_a_miss_is_below_one_percent(
    tmp_path: Path, servers: list[ServerEnv]
) -> None:
    result = bisected(servers, LoggedTrials(tmp_path), in_range)
    assert (result.rate.shown, result.rate.runs, result.tries) == (5, 5, 2)
    assert result.miss < 0.01
    assert {each.runs for each in result.releases if each.decision == "absent"} == {2}
    assert {each.runs for each in result.releases if each.decision == "shows"} == {1, 5}


def test_release_that_shows_it_more_rarely_adds_runs_of_the_next_one(
    tmp_path: Path, servers: list[ServerEnv]
) -> None:
    """0.24.0 shows it in every second run, and so does 0.25.0, whose first two runs miss it."""
    runs: Counter[str] = Counter()

    def observe(server: ServerEnv) -> Observation:
        runs[server.name] += 1
        rare = {"0.24.0": (2,), "0.25.0": (3, 5)}.get(server.name)
        if rare is None:
            return in_range(server)
        return "shows" if runs[server.name] in rare else "absent"

    result = bisected(servers, LoggedTrials(tmp_path), observe)
    assert result.found is not None
    assert (result.found.last, result.found.absent_after) == ("0.25.0", "0.26.0")
    assert runs["0.26.0"] == result.tries > 2
    assert result.miss < 0.01


@pytest.mark.parametrize("budget", range(12, 40))
def test_release_whose_runs_are_not_all_made_does_not_count_as_free_of_it(
    budget: int, tmp_path: Path, servers: list[ServerEnv]
) -> None:
    runs: Counter[str] = Counter()

    def observe(server: ServerEnv) -> Observation:
        runs[server.name] += 1
        rare = {"0.18.0": (4,), "0.19.0": (2,), "0.24.0": (2,), "0.25.0": (3, 5)}.get(server.name)
        if rare is None:
            return in_range(server)
        return "shows" if runs[server.name] in rare else "absent"

    result = bisected(servers, LoggedTrials(tmp_path, RunBudget(1e9, runs=budget)), observe)
    free = [(each.shown, each.runs) for each in result.releases if each.decision == "absent"]
    assert [each for each in free if each != (0, FIRST_TRIES) and each < (0, result.tries)] == []
    assert not any(shown for shown, _ in free)


def test_rare_failure_gets_the_runs_that_its_rate_needs(tmp_path: Path, servers: list[ServerEnv]) -> None:
    runs: Counter[str] = Counter()

    def observe(server: ServerEnv) -> Observation:
        runs[server.name] += 1
        return "shows" if server.name == "0.20.0" and runs[server.name] == 1 else "absent"

    result = bisected(servers, LoggedTrials(tmp_path), observe)
    assert (result.rate.shown, result.rate.runs, result.tries) == (1, 10, 32)
    assert result.miss < 0.01


def test_flaky_failure_finds_the_same_releases(tmp_path: Path, servers: list[ServerEnv]) -> None:
    right = 0
    for seed in range(100):
        draws = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()

        def observe(server: ServerEnv, draws: random.Random = draws) -> Observation:
            return "shows" if in_range(server) == "shows" and draws.random() < 0.5 else "absent"

        found = bisected(servers, LoggedTrials(folder), observe).found
        right += found is not None and (found.first, found.last) == ("0.19.0", "0.24.0")
    assert right >= 85


def test_release_that_does_not_start_is_named(tmp_path: Path, servers: list[ServerEnv]) -> None:
    def observe(server: ServerEnv) -> Observation:
        return "server start" if server.name == "0.18.0" else in_range(server)

    result = bisected(servers, LoggedTrials(tmp_path), observe)
    assert result.found is not None
    assert (result.found.absent_before, result.found.untested) == ("0.17.0", ["0.18.0"])


def test_given_release_is_not_run(tmp_path: Path, servers: list[ServerEnv]) -> None:
    trials = LoggedTrials(tmp_path)
    result = bisected(servers, trials, in_range, absent=(2,))
    assert result.releases[2].given
    assert trials.log.of("0.18.0") == trials.log.of("0.16.0") == []


def test_killed_bisection_goes_on_without_repeating_a_run(tmp_path: Path, servers: list[ServerEnv]) -> None:
    first = LoggedTrials(tmp_path, RunBudget(1e9, runs=8))
    assert bisected(servers, first, in_range).found is None
    first.log.close()
    whole = LoggedTrials(tmp_path)
    assert whole.log.resumed == 8
    assert bisected(servers, whole, in_range).found is not None
    (tmp_path / "fresh").mkdir()
    fresh = LoggedTrials(tmp_path / "fresh")
    bisected(servers, fresh, in_range)
    assert len(whole.log.trials) == len(fresh.log.trials)


def test_failure_that_does_not_show_again_is_not_bisected(tmp_path: Path, servers: list[ServerEnv]) -> None:
    with pytest.raises(NotShownAgain):
        bisected(servers, LoggedTrials(tmp_path), lambda server: "absent")
