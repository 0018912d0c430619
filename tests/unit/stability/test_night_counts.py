"""What a night counts: signatures but for planted ones, infrastructure apart, the positive control."""

from __future__ import annotations

import msgspec
import pytest

from history.verdict import Cause, FaultEffect, Outcome, RunVerdict
from kvchaos.stability.campaign_records import CampaignRun, Category, ControlResult
from kvchaos.stability.night_counts import (
    campaign_run,
    control_result,
    kept_runs,
    night_line,
    positive_control,
    signature_lines,
)
from kvchaos.stability.run_mix import NextRun, RunChoice
from kvchaos.triage.failure_signature import Infrastructure

DIED = "server-alive/died: KeyError in vllm.v1.core.sched.scheduler.schedule"
LEAK = "drained/blocks: gauge"


def verdict(
    outcome: Outcome = "as expected", causes: tuple[Cause, ...] = (), effects: tuple[FaultEffect, ...] = ()
) -> RunVerdict:
    return RunVerdict(
        run_id="run-1",
        scenario="aborts",
        server="0.32.0",
        seed=1,
        outcome=outcome,
        reasons=["server-alive: the server died"] if outcome != "as expected" else [],
        expected_failures=[],
        issue=None,
        results=[],
        causes=list(causes),
        effects=list(effects),
    )


def cause(signature: str, unexplained: bool = True, explained_by: tuple[str, ...] = ()) -> Cause:
    return Cause(
        rule=signature.partition(":")[0],
        signature=signature,
        violations=1,
        explained_by=list(explained_by),
        unexplained=unexplained,
    )


def effect(explains: dict[str, int], judged: bool = True) -> FaultEffect:
    return FaultEffect(
        fault="flip", kind="corrupt", rules=["answers/not-golden"], least=1, explains=explains, judged=judged
    )


def planned(category: Category = "new") -> NextRun:
    return NextRun(3, category, RunChoice("aborts", 17))


def run(
    number: int,
    *signatures: str,
    outcome: Outcome = "as expected",
    infrastructure: Infrastructure | None = None,
    control: ControlResult | None = None,
) -> CampaignRun:
    found = campaign_run(
        planned(), verdict(outcome, tuple(cause(each) for each in signatures)), 20.0, infrastructure
    )
    return CampaignRun(
        number=number,
        category="positive control" if control else "new",
        scenario="aborts",
        seed=number,
        outcome=outcome,
        run=f"run-{number}",
        seconds=20.0,
        signatures=found.signatures,
        infrastructure=infrastructure,
        reason="a gap" if outcome == "unknown" else "",
        control=control,
    )


def test_cause_that_a_fault_declares_is_no_signature() -> None:
    found = campaign_run(planned(), verdict(causes=(cause(LEAK, False, ("flip",)), cause(DIED))), 1.0, None)
    assert [each.signature for each in found.signatures] == [DIED]


def test_positive_control_has_a_result_and_no_signature() -> None:
    whole = verdict(causes=(cause(DIED),), effects=(effect({"answers/not-golden": 3}),))
    found = campaign_run(planned("positive control"), whole, 1.0, None)
    assert (found.control, found.signatures) == ("found", [])


@pytest.mark.parametrize(
    ("outcome", "effects", "result"),
    [
        ("as expected", (effect({"answers/not-golden": 3}),), "found"),
        ("as expected", (), "missed"),
        ("as expected", (effect({}),), "missed"),
        ("not as expected", (effect({"answers/not-golden": 3}),), "missed"),
        ("as expected", (effect({}, judged=False),), "missed"),
        ("unknown", (effect({"answers/not-golden": 3}),), "absent"),
    ],
)
def test_positive_control_is_found_only_by_its_own_effect(
    outcome: Outcome, effects: tuple[FaultEffect, ...], result: ControlResult
) -> None:
    assert control_result(verdict(outcome, effects=effects)) == result


@pytest.mark.parametrize(
    ("results", "worst"),
    [([], "absent"), (["found"], "found"), (["found", "missed"], "missed"), (["absent"], "absent")],
)
def test_night_has_the_worst_of_its_positive_controls(
    results: list[ControlResult], worst: ControlResult
) -> None:
    assert positive_control([run(number, control=each) for number, each in enumerate(results)]) == worst


def test_night_without_a_positive_control_is_not_green() -> None:
    runs = [run(1), run(2)]
    assert not night_line("2026-11-30T02:00:00Z", "0.32.0", runs, 40.0, complete=True).is_green
    found = [run(0, control="found"), *runs]
    assert night_line("2026-11-30T02:00:00Z", "0.32.0", found, 60.0, complete=True).is_green


def test_infrastructure_is_counted_apart_from_the_server() -> None:
    runs = [run(0, control="found"), run(1, DIED, outcome="unknown", infrastructure="client")]
    night = night_line("2026-11-30T02:00:00Z", "0.32.0", runs, 40.0, complete=True)
    assert night.infrastructure == {"client": 1}
    assert night.outcomes == {"as expected": 1}
    assert signature_lines("2026-11-30T02:00:00Z", "0.32.0", runs) == []


def test_unknown_runs_are_counted_by_their_reason() -> None:
    runs = [run(1, outcome="unknown"), run(2, outcome="unknown")]
    assert night_line("2026-11-30T02:00:00Z", "0.32.0", runs, 40.0, complete=True).unknown == {"a gap": 2}


def test_signature_has_one_line_with_its_first_runs() -> None:
    runs = [run(number, DIED, outcome="not as expected") for number in range(6)]
    (line,) = signature_lines("2026-11-30T02:00:00Z", "0.32.0", runs)
    assert (line.count, line.unexplained) == (6, True)
    assert line.examples == [("aborts", number, f"run-{number}") for number in range(4)]


def test_unexplained_cause_is_counted_where_a_known_bug_has_its_signature_too() -> None:
    both = verdict(causes=(cause(LEAK, unexplained=False), cause(LEAK), cause(LEAK)))
    found = campaign_run(planned(), both, 1.0, None)
    assert [each.unexplained for each in found.signatures] == [False, True]
    runs = [run(0, LEAK), msgspec.structs.replace(found, run="run-1"), run(2, LEAK)]
    unexplained, explained = signature_lines("2026-11-30T02:00:00Z", "0.32.0", runs)
    assert (unexplained.unexplained, unexplained.count) == (True, 3)
    assert (explained.unexplained, explained.count) == (False, 1)


def test_server_is_named_only_where_the_version_does_not_name_it() -> None:
    runs = [run(0, DIED, outcome="not as expected")]
    for server, stored, name in (("0.32.0", "", "0.32.0"), ("mine", "mine", "mine")):
        (line,) = signature_lines("2026-11-30T02:00:00Z", "0.32.0", runs, server)
        night = night_line("2026-11-30T02:00:00Z", "0.32.0", runs, 40.0, complete=True, server=server)
        assert (line.server, line.server_name) == (night.server, night.server_name) == (stored, name)


def test_four_runs_of_a_signature_are_kept_whole() -> None:
    runs = [run(number, DIED, outcome="not as expected") for number in range(6)]
    odd = run(7, outcome="unknown")
    assert kept_runs([*runs, odd, run(8)]) == {"run-0", "run-1", "run-2", "run-3", "run-7"}
