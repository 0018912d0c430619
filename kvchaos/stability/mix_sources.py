"""Where the runs of a night come from: scenarios, earlier failures, and the known bugs of the build. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from packaging.version import Version

from chaos.fault_catalogue import KINDS
from chaos.inside.fault_kind import CONFORMING
from history.scenario import Scenario
from kvchaos.bugs.bug_catalogue import KnownBug, contains
from kvchaos.errors import UsageError
from kvchaos.stability.run_mix import RunChoice, RunMix
from kvchaos.stability.stability_store import StabilityHistory

CONTROL = RunChoice("corruption-canary", 1)
"""The positive control flips bits of offloaded blocks: the oracles must find wrong answers."""


def mix_of(
    night: str,
    scenarios: Mapping[str, Scenario],
    past: StabilityHistory,
    bugs: Sequence[KnownBug],
    release: Version,
) -> RunMix:
    """The mix of a night, of these scenarios by name. `bugs`: all that are known."""
    return RunMix(
        night=night,
        scenarios=sorted(name for name in scenarios if name != CONTROL.scenario),
        control=CONTROL,
        failed=[choice for choice in failed_before(past) if choice.scenario in scenarios],
        known=[choice for choice in bug_choices(bugs, release) if choice.scenario in scenarios],
    )


def one_server_mix(night: str, scenarios: Mapping[str, Scenario]) -> RunMix:
    """The mix of a night on one server: conforming faults only, and the same server settings.

    Earlier failures and known bugs would end the server. Raises UsageError where no scenario is left.
    """
    settings = scenarios[CONTROL.scenario].server
    chosen = [
        name
        for name, scenario in scenarios.items()
        if name != CONTROL.scenario
        and scenario.server == settings
        and scenario.fresh is None
        and all(KINDS[fault.kind].contract == CONFORMING for fault in scenario.faults)
    ]
    if not chosen:
        raise UsageError(
            f"--one-server: no scenario has the server settings of {CONTROL.scenario} and conforming faults "
            "only; choose others with --scenarios"
        )
    return RunMix(night=night, scenarios=sorted(chosen), control=CONTROL)


def failed_before(past: StabilityHistory) -> list[RunChoice]:
    """Scenario and seed of runs with a cause that nothing explains, the latest first, each once."""
    found = [
        RunChoice(scenario, seed)
        for line in reversed(past.signatures)
        if line.unexplained
        for scenario, seed, _ in line.examples
    ]
    return list(dict.fromkeys(found))


def bug_choices(bugs: Sequence[KnownBug], release: Version) -> list[RunChoice]:
    """A run for each scenario in which a bug of the release shows."""
    shown = [
        shows.scenario
        for bug in bugs
        if bug.on(release)
        for shows in bug.shows
        if shows.releases is None or contains(shows.releases, release)
    ]
    return [RunChoice(scenario, CONTROL.seed) for scenario in dict.fromkeys(shown)]
