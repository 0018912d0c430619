"""Repeats of a night's new failures, at once: the same seed, other seeds, without the faults. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from history.scenario import Scenario
from kvchaos.stability.campaign_records import CampaignRun, RepeatedFailure, SignatureCount
from kvchaos.stability.run_mix import NextRun, RunChoice
from kvchaos.triage.failure_repeats import PlannedRepeat, RepeatOutcome, RepeatResult, classify, repeat_plan
from kvchaos.triage.failure_signature import Observation
from oracles.causes import without_kinds

SAME_SEED, OTHER_SEEDS, FAULTLESS = 2, 2, 1
MOST_FAILURES = 3
"""New signatures of a night that are repeated: the night is for finding others, too."""


def known_failures(counts: Iterable[SignatureCount]) -> frozenset[str]:
    """Signatures of earlier nights that nothing explained: they were repeated then."""
    return frozenset(count.signature for count in counts if count.unexplained)


def next_repeat(
    runs: Sequence[CampaignRun], known: Collection[str], scenarios: Mapping[str, Scenario]
) -> NextRun | None:
    """The repeat that the runs so far still need; None: none. `known`: see `known_failures`.

    It follows from the runs alone, so an interrupted night goes on with the same.
    """
    for failed, signature in _new_failures(runs, known):
        plan = _plan(scenarios[failed.scenario], failed.seed)
        made = len(_repeats(runs, failed.number, signature))
        if made < len(plan):
            planned = plan[made]
            return NextRun(
                number=len(runs),
                category="repeat",
                choice=RunChoice(failed.scenario, planned.seed),
                repeat=RepeatedFailure(number=failed.number, variant=planned.variant, signature=signature),
            )
    return None


def _plan(scenario: Scenario, seed: int) -> list[PlannedRepeat]:
    return list(repeat_plan(scenario, seed, SAME_SEED, OTHER_SEEDS, FAULTLESS))


def without_faults(scenario: Scenario) -> Scenario:
    """The scenario of a repeat without its faults."""
    return scenario.model_copy(update={"faults": (), "swarm": False})


def _new_failures(runs: Sequence[CampaignRun], known: Collection[str]) -> Iterator[tuple[CampaignRun, str]]:
    """The first run of each new signature that nothing explains; a few."""
    found: set[str] = set()
    for run in runs:
        for each in run.signatures if run.repeat is None and run.infrastructure is None else ():
            if each.unexplained and each.signature not in known and each.signature not in found:
                if len(found) == MOST_FAILURES:
                    return
                found.add(each.signature)
                yield run, each.signature


def _repeats(runs: Sequence[CampaignRun], number: int, signature: str) -> list[CampaignRun]:
    return [
        run
        for run in runs
        if run.repeat is not None and (run.repeat.number, run.repeat.signature) == (number, signature)
    ]


def repeat_result(runs: Sequence[CampaignRun], signature: str) -> RepeatResult | None:
    """What the repeats of a signature say; None: there are none."""
    outcomes = [
        RepeatOutcome(run.repeat.variant, run.seed, _observation(run, signature), run.run)
        for run in runs
        if run.repeat is not None and run.repeat.signature == signature
    ]
    return classify(outcomes) if outcomes else None


def _observation(run: CampaignRun, signature: str) -> Observation:
    if run.infrastructure is not None:
        return run.infrastructure
    # Without the faults of the run, no kind of fault can come before its wrong answers.
    text = without_kinds(signature)
    found = any(each.unexplained and without_kinds(each.signature) == text for each in run.signatures)
    return "shows" if found else "absent"
