"""resources must see what a server keeps for good, and leave alone what a load takes and gives back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from history.plan import RunPlan
from history.verdict import Verdict
from oracles.resources import ROUNDS, judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import RUNNING, SECOND, make_plan, resource_record

MIB = 1 << 20


def keep(run: Run, since: int, **kept: int) -> None:
    """Let the server hold more at every sample from number `since` on."""
    for index in range(since, len(run.resources)):
        before = msgspec.structs.asdict(run.resources[index])
        more = {name: before[name] + amount for name, amount in kept.items()}
        run.resources[index] = msgspec.structs.replace(run.resources[index], **more)


def many_rounds(rounds: int) -> RunPlan:
    """A plan of so many phases of the same load."""
    plan = make_plan()
    (golden, *_) = plan.scenario.phases
    phases = tuple(golden.model_copy(update={"name": f"round-{number}"}) for number in range(rounds))
    return plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"phases": phases})})


def grow(run: Run, mib_at: Callable[[int], int]) -> None:
    """Let memory grow, by the number of the sample."""
    for index in range(len(run.resources)):
        run.resources[index] = resource_record(
            run.resources[index].t_ns, anonymous_bytes=(1500 + mib_at(index)) * MIB
        )


def test_released_resources_pass_with_their_figures() -> None:
    result = judge(clean_run().history())
    assert result.verdict is Verdict.PASS
    assert result.checked == 6
    resource_record = {name: result.figures[name] for name in ("moments", "processes", "threads", "files")}
    assert resource_record == {"moments": 4, "processes": 3, "threads": 60, "files": 120}


@pytest.mark.parametrize(
    ("name", "kept", "rule"),
    [
        ("processes", 1, "processes"),
        ("threads", 33, "threads"),
        ("files", 9, "open-files"),
        ("sockets", 13, "sockets"),
        ("shm_bytes", MIB + 1, "shared-memory"),
        ("zombies", 2, "zombies"),
    ],
)
def test_resource_growth_above_its_bound_fails_with_value_and_bound(name: str, kept: int, rule: str) -> None:
    run = clean_run()
    before = getattr(run.resources[0], name)
    keep(run, 1, **{name: kept - 1})
    assert judge(run.history()).verdict is Verdict.PASS
    keep(run, 1, **{name: 1})
    result = judge(run.history())
    assert result.by_rule == {f"resources/{rule}": 1}
    (finding,) = result.findings
    assert finding.figures == {"before": before, "after": before + kept, "allowed": kept - 1}
    assert [value for _, value in finding.samples] == [before, before + kept]


def test_run_without_zombie_counts_is_judged_by_other_resources() -> None:
    run = clean_run()
    run.resources = [msgspec.structs.replace(record, zombies=None) for record in run.resources]
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert "zombies" not in result.figures


def test_resources_released_after_load_are_no_leak() -> None:
    run = clean_run()
    keep(run, 1, processes=4, threads=100, files=100, sockets=100, shm_bytes=MIB)
    keep(run, 3, processes=-4, threads=-100, files=-100, sockets=-100, shm_bytes=-MIB)
    assert judge(run.history()).verdict is Verdict.PASS


def test_resources_of_the_first_load_are_the_baseline() -> None:
    run = clean_run()
    keep(run, 0, processes=4, threads=100, files=100)
    run.resources.insert(0, resource_record(run.scrapes[0].t_ns))
    assert judge(run.history()).verdict is Verdict.PASS


def test_sockets_without_client_counts_are_not_judged() -> None:
    run = clean_run()
    run.client.clear()
    keep(run, 1, sockets=1000)
    result = judge(run.history())
    assert (result.verdict, result.checked) == (Verdict.PASS, 5)


def test_memory_that_grows_round_by_round_fails() -> None:
    run = clean_run(many_rounds(ROUNDS))
    grow(run, lambda index: 10 * index)
    result = judge(run.history())
    assert result.by_rule == {"resources/memory": 1}
    assert result.findings[0].figures == {"mib": 80, "moments": ROUNDS + 1, "allowed": 64}
    assert len(result.findings[0].samples) == ROUNDS + 1


@pytest.mark.parametrize(
    "mib_at",
    [
        lambda index: 7 * index,
        lambda index: 500 * (index >= 4),
        lambda index: 300 * (index % 2),
        lambda index: 900 * (index == ROUNDS),
    ],
    ids=["slow", "one step", "up and down", "a last peak"],
)
def test_memory_that_does_not_grow_with_the_rounds_passes(mib_at: Callable[[int], int]) -> None:
    run = clean_run(many_rounds(ROUNDS))
    grow(run, mib_at)
    assert judge(run.history()).verdict is Verdict.PASS


def test_memory_growth_is_not_judged_on_few_rounds() -> None:
    run = clean_run()
    grow(run, lambda index: 100 * index)
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert (result.figures["moments"], result.figures["anonymous_bytes"]) == (4, 1800 * MIB)


@pytest.mark.parametrize(("mib", "broken"), [(700, False), (800, True)])
def test_memory_jump_fails_on_few_rounds(mib: int, broken: bool) -> None:
    """512 MiB, besides a tier of 200 MiB and a cache of 1 MiB that may fill up."""
    run = clean_run()
    grow(run, lambda index: mib if index == len(run.resources) - 1 else 0)
    assert ("resources/memory-at-end" in judge(run.history()).by_rule) is broken


def test_no_samples_are_unknown() -> None:
    run = clean_run()
    run.resources.clear()
    gap_of(judge(run.history()), "resources/not-sampled")


def test_stale_sample_is_no_end_sample() -> None:
    """Sampling broke off long before; what the server has taken since then nobody knows."""
    run = clean_run()
    last = run.resources[-1]
    run.resources[-1] = msgspec.structs.replace(last, t_ns=last.t_ns - 60 * SECOND)
    run.resources.sort(key=lambda record: record.t_ns)
    gap_of(judge(run.history()), "resources/no-quiet-end")


def test_dead_server_without_an_end_sample_is_unknown() -> None:
    run = clean_run()
    run.drop_events("drained")
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_a_phase_that_was_cut_short_is_no_quiet_moment() -> None:
    run = clean_run()
    run.change_event("phase_end", reason="stalled")
    gap_of(judge(run.history()), "resources/no-quiet-moment")


def test_phase_with_unfinished_requests_is_no_quiet_moment() -> None:
    run = clean_run()
    run.bump(RUNNING, 1.0)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_a_phase_without_a_scrape_is_no_quiet_moment() -> None:
    run = clean_run()
    run.scrapes.clear()
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_a_restarted_server_is_compared_with_itself() -> None:
    run = clean_run(make_plan(roles=("golden", "chaos", "healed", "load")))
    for index in (2, 3, 4):
        run.resources[index] = resource_record(run.resources[index].t_ns, leader=200, threads=500)
    assert judge(run.history()).verdict is Verdict.PASS
    keep(run, 4, threads=33)
    figures = finding_of(judge(run.history()), "resources/threads").figures
    assert (figures["before"], figures["after"]) == (500, 533)


def test_leak_of_an_ended_incarnation_fails() -> None:
    run = clean_run(make_plan(roles=("golden", "chaos", "healed", "load")))
    keep(run, 1, files=50)
    for index in (2, 3, 4):
        run.resources[index] = resource_record(run.resources[index].t_ns, leader=200)
    figures = finding_of(judge(run.history()), "resources/open-files").figures
    assert (figures["before"], figures["after"]) == (120, 170)


def test_last_incarnation_with_only_its_end_sample_is_unknown() -> None:
    run = clean_run()
    run.resources[-1] = resource_record(run.resources[-1].t_ns, started=9_000)
    assert judge(run.history()).verdict is Verdict.UNKNOWN
