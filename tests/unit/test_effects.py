"""A fault explains what it is declared to bring: not less, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace
from packaging.version import Version

from chaos import catalogue
from chaos.inside.kind import HOSTILE, Value
from history.plan import Expectation, FaultSpec, RunPlan, Trigger
from history.reader import History, read_history
from history.verdict import FaultEffect, RunVerdict
from kvchaos.expectation import Standing, standing
from kvchaos.judging import judge
from kvchaos.planning import declared_effects
from kvchaos.report.faults import declared_text
from oracles import all_rules
from tests.stored import DATA, unpack
from tests.unit.histories import Run, clean_run
from tests.unit.synthetic import MS, SECOND, failure, make_plan

RELEASE = Version("0.32.0")
NOT_GOLDEN = "answers/not-golden"
DIED = "server-alive/died"


def planned(kind: str, params: Mapping[str, Value], expectation: Expectation | None = None) -> RunPlan:
    fault = FaultSpec(id="f1", kind=kind, trigger=Trigger(every=1), params=dict(params))
    plan = make_plan(faults=(fault,), expectation=expectation)
    return plan.model_copy(update={"effects": tuple(declared_effects((fault,), RELEASE))})


def struck(kind: str, *places: int, direction: str = "load", **params: Value) -> Run:
    """A run without a fault of the server, in which a fault struck these requests of the chaos phase."""
    run = clean_run(planned(kind, params))
    for place in places:
        strike(run, kind, place, direction)
    return run


def strike(run: Run, kind: str, place: int, direction: str = "load") -> None:
    """In the middle of a request of the chaos phase, counted from 0."""
    record = run.requests[run.first_of("chaos") + place]
    run.fire_at(record.start_ns + 10 * MS, "f1", kind, block=3, bytes_changed=1, direction=direction)
    run.faults[-1] = replace(run.faults[-1], request=f"cmpl-{record.id}-0-8d87c8ec")


def differ(run: Run, place: int, phase: str = "chaos") -> str:
    """Give a request another answer than the golden one; its id."""
    number = run.first_of(phase) + place
    return run.change_request(number, logprobs=[-9.0 - number, -0.25, -1.75, -0.125]).id


def reset(run: Run) -> None:
    """The conductor resets the prefix cache after healing."""
    healed = next(event for event in run.events if event.kind == "healed")
    run.event("prefix_cache_reset", ok=True, answer="true", detail="")
    run.events[-1] = replace(run.events[-1], t_ns=healed.t_ns + 1)
    run.events.sort(key=lambda event: event.t_ns)


def end_server(run: Run, after_ns: int) -> None:
    """It exits so long after the first firing, and nothing is known of it from then on."""
    t_ns = run.faults[1].t_ns + after_ns
    run.event("server_exit", code=1, pid=run.leader)
    run.events[-1] = replace(run.events[-1], t_ns=t_ns)
    run.drop_events("server_stop")
    run.events.sort(key=lambda event: event.t_ns)


def verdict(run: Run) -> RunVerdict:
    return judge(run.history())


def explained(judged: RunVerdict) -> dict[str, int]:
    (effect,) = judged.effects
    return effect.explains


def stands(run: Run, oracle: str) -> Standing:
    judged = verdict(run)
    result = next(result for result in judged.results if result.oracle == oracle)
    return standing(result, run.plan.expectation, judged.causes)


def test_a_wrong_answer_that_read_the_damage_is_explained() -> None:
    run = struck("bit_flip", 1)
    differ(run, 1)
    judged = verdict(run)
    assert judged.outcome == "as expected"
    assert judged.reasons == ["explained by fault f1 (bit_flip): answers/not-golden, 1 finding"]
    assert judged.effects == [
        FaultEffect(
            fault="f1",
            kind="bit_flip",
            rules=[NOT_GOLDEN, "answers/not-repeated"],
            least=1,
            explains={NOT_GOLDEN: 1},
        )
    ]
    assert stands(run, "answers") is Standing.EXPLAINED


def test_a_wrong_answer_that_read_no_damage_is_not_swallowed() -> None:
    run = struck("bit_flip", 1)
    differ(run, 1)
    other = differ(run, 3)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert explained(judged) == {NOT_GOLDEN: 1}
    (reason,) = [line for line in judged.reasons if NOT_GOLDEN in line]
    assert reason.startswith(f"1 of 2 findings of {NOT_GOLDEN} ")
    assert other in reason
    assert stands(run, "answers") is Standing.NOT_EXPECTED


def test_damage_that_no_answer_shows_is_not_as_expected() -> None:
    run = struck("bit_flip", 1)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert judged.effects[0].missing
    assert any("fault f1 (bit_flip) fired" in reason for reason in judged.reasons)
    assert stands(run, "answers") is Standing.NOT_EXPECTED


def test_a_fault_that_never_fired_owes_nothing() -> None:
    judged = verdict(struck("bit_flip"))
    assert (judged.outcome, judged.effects) == ("unknown", [])


def test_a_wrong_answer_without_a_firing_is_explained_by_nothing() -> None:
    run = struck("bit_flip")
    differ(run, 1)
    assert verdict(run).outcome == "not as expected"


def test_a_request_with_the_same_first_block_may_have_read_the_damage() -> None:
    run = struck("bit_flip", 1)
    differ(run, 2)
    place = run.first_of("chaos")
    run.change_request(place + 2, first_block=run.requests[place + 1].first_block)
    assert explained(verdict(run)) == {NOT_GOLDEN: 1}


def test_a_request_that_ended_before_the_damage_did_not_read_it() -> None:
    run = struck("bit_flip", 1)
    differ(run, 1)
    place = run.first_of("chaos")
    run.change_request(place, first_block=run.requests[place + 1].first_block)
    differ(run, 0)
    judged = verdict(run)
    assert (judged.outcome, explained(judged)) == ("not as expected", {NOT_GOLDEN: 1})


@pytest.mark.parametrize(("direction", "outcome"), [("load", "not as expected"), ("store", "as expected")])
def test_damage_of_a_load_is_gone_after_the_reset_and_that_of_a_store_is_not(
    direction: str, outcome: str
) -> None:
    run = struck("bit_flip", 1, direction=direction)
    reset(run)
    differ(run, 1)
    differ(run, 1, phase="healed")
    assert verdict(run).outcome == outcome


def test_the_finding_that_no_fault_explains_is_kept_before_those_that_one_explains() -> None:
    """The verdict keeps five findings of a rule: the one that matters must be among them."""
    run = struck("zero_block", 0, 1, 2)
    for place in range(3):
        differ(run, place)
        differ(run, place, phase="healed")
    other = differ(run, 3, phase="healed")
    (result,) = [result for result in verdict(run).results if result.oracle == "answers"]
    assert (result.violations, result.explained) == (7, {NOT_GOLDEN: 6})
    assert len(result.findings) == 5
    assert [finding.explained_by for finding in result.findings] == [None, *["f1"] * 4]
    assert result.findings[0].request == other


def test_another_rule_of_the_same_oracle_is_not_explained() -> None:
    run = struck("bit_flip", 1)
    differ(run, 1)
    place = run.first_of("chaos") + 3
    foreign = [-8.0, -0.25, -1.75, -0.125]
    for phase in ("golden", "chaos", "healed"):
        run.change_request(run.first_of(phase) + 2, logprobs=foreign)
    run.change_request(place, logprobs=foreign)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert any("answers/foreign" in reason for reason in judged.reasons)


def test_an_expectation_that_names_the_rule_covers_all_of_it() -> None:
    """As in scenarios that were written before faults declared anything."""
    named = Expectation(releases=">=0", fail=(NOT_GOLDEN,), issue="on purpose")
    run = clean_run(planned("bit_flip", {}, named))
    strike(run, "bit_flip", 1)
    differ(run, 1)
    differ(run, 3)
    assert not any(NOT_GOLDEN in reason for reason in verdict(run).reasons if "explained by no" in reason)


def test_an_oracle_that_could_not_judge_does_not_make_the_effect_missing() -> None:
    run = struck("bit_flip", 1)
    run.plan = run.plan.model_copy(
        update={"scenario": run.plan.scenario.model_copy(update={"phases": run.plan.scenario.phases[1:]})}
    )
    judged = verdict(run)
    assert [effect.judged for effect in judged.effects] == [False]
    assert judged.outcome == "unknown"


def test_the_end_of_the_server_soon_after_the_firing_is_explained_with_all_that_follows() -> None:
    run = struck("copy_failed", 1)
    end_server(run, SECOND)
    run.change_request(run.first_of("chaos") + 1, **failure("ReadError", "gone", 200))
    judged = verdict(run)
    assert judged.outcome == "as expected", judged.reasons
    assert explained(judged) == {DIED: 1}
    assert [cause.rule for cause in judged.causes] == [DIED]


def test_a_server_that_lives_on_is_not_as_expected() -> None:
    judged = verdict(struck("copy_failed", 1))
    assert judged.outcome == "not as expected"
    assert any(DIED in reason for reason in judged.reasons)


def test_a_death_long_after_the_firing_is_not_explained() -> None:
    run = struck("copy_failed", 1)
    end_server(run, 31 * SECOND)
    assert explained(verdict(run)) == {}
    assert verdict(run).outcome == "not as expected"


def test_a_second_death_is_not_swallowed() -> None:
    run = struck("copy_failed", 1)
    end_server(run, SECOND)
    run.event("server_start", pid=5, port=8123, log_line=len(run.log))
    run.event("server_exit", code=1, pid=5)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert explained(judged) == {DIED: 1}
    assert any(line.startswith(f"1 of 2 findings of {DIED} ") for line in judged.reasons)


def test_a_firing_in_each_of_two_lives_owes_the_end_of_each() -> None:
    run = struck("copy_failed", 1)
    end_server(run, SECOND)
    run.event("server_start", pid=5, port=8123, log_line=len(run.log))
    run.fire_at(run.now_ns + MS, "f1", "copy_failed", direction="load")
    judged = verdict(run)
    assert [(effect.least, effect.missing) for effect in judged.effects] == [(2, True)]


def given_up(run: Run, place: int) -> str:
    """The client gave a request up that had no token; its id."""
    return run.change_request(
        run.first_of("chaos") + place, **failure("DeadlineExceeded", "no end", 200), end_us=100_000
    ).id


def lost(run: Run) -> None:
    """What a lost load holds to the end."""
    run.change_event("leak_probe", ok=False)
    books = run.ledger[-2]
    since = run.requests[run.first_of("chaos") + 1].start_ns
    run.ledger[-2] = replace(books, evidence={**books.evidence, "loads_open": 1, "loads_since_ns": since})


def test_a_lost_load_explains_the_request_that_waits_for_it_and_what_it_holds() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    lost(run)
    judged = verdict(run)
    assert judged.outcome == "as expected", judged.reasons
    assert [effect.explains for effect in judged.effects] == [
        {"progress/deadline": 1},
        {"outcomes/truncated-stream": 1},
        {"transfer-invariants/load-never-ended": 1},
        {"drained/blocks-leaked": 1},
    ]
    assert [cause.rule for cause in judged.causes] == ["progress/deadline"]


def test_another_request_that_waits_in_vain_is_not_swallowed() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    lost(run)
    other = given_up(run, 3)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert any(other in line and "progress/deadline" in line for line in judged.reasons)


def test_another_request_that_breaks_off_is_not_swallowed() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    lost(run)
    other = run.change_request(run.first_of("chaos") + 3, **failure("ReadError", "gone", 200)).id
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert any(other in line and "outcomes/truncated-stream" in line for line in judged.reasons)


def test_a_lost_load_that_holds_nothing_is_not_as_expected() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    missing = {effect.rules[0] for effect in judged.effects if effect.missing}
    assert missing == {"transfer-invariants/load-never-ended", "drained/blocks-leaked"}


def test_a_finding_more_on_the_same_subject_is_not_of_the_faults_doing() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    lost(run)
    run.event("leak_probe", ok=False, answer="false", detail="")
    assert verdict(run).effects[-1].explains == {"drained/blocks-leaked": 1}


def test_what_leaked_before_the_firing_is_not_of_the_faults_doing() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    run.event("leak_probe", ok=False, answer="false", detail="")
    run.events.insert(0, replace(run.events.pop(), t_ns=run.faults[1].t_ns - 1))
    effect = verdict(run).effects[-1]
    assert (effect.rules, effect.missing) == (["drained/blocks-leaked"], True)


@pytest.mark.parametrize(("later_s", "outcome"), [(0, "as expected"), (2, "not as expected")])
def test_only_a_stall_while_the_struck_request_waits_is_explained(later_s: int, outcome: str) -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    lost(run)
    run.event("stall", seconds=0.01, running=1, waiting=0)
    waits = run.requests[run.first_of("chaos") + 1]
    stalled = replace(run.events.pop(), t_ns=waits.start_ns + 90 * MS + later_s * SECOND)
    run.events = sorted([*run.events, stalled], key=lambda event: event.t_ns)
    judged = verdict(run)
    assert judged.outcome == outcome, judged.reasons


def test_a_lost_store_explains_nothing() -> None:
    run = struck("completion_lost", 1, direction="store")
    given_up(run, 1)
    judged = verdict(run)
    assert (judged.effects, judged.outcome) == ([], "not as expected")


def test_a_run_of_an_earlier_version_is_judged_by_its_expectation() -> None:
    run = struck("bit_flip", 1)
    run.plan = run.plan.model_copy(
        update={
            "effects": (),
            "expectation": Expectation(releases=">=0", fail=(NOT_GOLDEN,), issue="on purpose"),
        }
    )
    differ(run, 1)
    differ(run, 3)
    judged = verdict(run)
    assert (judged.effects, judged.causes[0].violations) == ([], 2)


# The catalogue.


@pytest.mark.parametrize("kind", catalogue.KINDS.values(), ids=lambda kind: kind.name)
def test_a_hostile_fault_declares_its_effects_or_says_why_not_and_a_legal_one_has_none(
    kind: catalogue.Kind,
) -> None:
    if kind.contract == HOSTILE:
        assert kind.declared or kind.undeclared
    else:
        assert not kind.declared
        assert not kind.undeclared


@pytest.mark.parametrize("kind", catalogue.KINDS.values(), ids=lambda kind: kind.name)
def test_effects_name_rules_and_parameters_that_there_are(kind: catalogue.Kind) -> None:
    rules = {rule.id for rule in all_rules()}
    for effect in kind.declared:
        assert set(effect.rules) <= rules
        assert effect.when.keys() <= kind.parameters.keys()
        assert effect.direction is None or "direction" in kind.parameters


@pytest.mark.parametrize(
    ("kind", "params", "count"),
    [
        ("bit_flip", {}, 1),
        ("bit_flip", {"bit": 30}, 0),
        ("bit_flip", {"word_bytes": 2, "bit": 6}, 1),
        ("bit_flip", {"word_bytes": 2, "bit": 7}, 0),
        ("bit_flip", {"dry_run": True}, 0),
        ("nan", {}, 0),
        ("completion_twice", {}, 1),
        ("completion_twice", {"later": False}, 0),
        ("completion_lost", {}, 4),
        ("completion_lost", {"direction": "store"}, 0),
        ("completion_lost", {"direction": "both"}, 4),
        ("copy_failed", {"direction": "store"}, 1),
        ("load_failure", {}, 0),
        ("kill", {}, 0),
    ],
)
def test_effects_depend_on_the_parameters(kind: str, params: dict[str, Value], count: int) -> None:
    assert len(catalogue.effects(kind, params)) == count


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lookup_miss", "none"),
        ("copy_failed", "server-alive/died (once for each life of the server that it struck)"),
        (
            "noise",
            "answers/not-golden or answers/not-repeated (at least 1, on requests that read the block)",
        ),
        ("nan", "not declared: it may spread to other blocks, and requests fail as well as differ"),
    ],
)
def test_the_table_of_faults_shows_what_is_declared(kind: str, text: str) -> None:
    assert declared_text(catalogue.KINDS[kind]) == text


# Runs of real servers, as if their plans had held the effects.


def with_effects(history: History) -> History:
    plan = history.plan
    effects = tuple(declared_effects(plan.scenario.faults, Version(plan.versions.vllm)))
    changes = {"effects": effects, "expectation": Expectation(releases=">=0")}
    return dataclasses.replace(history, plan=plan.model_copy(update=changes))


@pytest.mark.parametrize(
    ("archive", "explains"),
    [
        ("wrong-answers", [{NOT_GOLDEN: 6}]),
        (
            "hang",
            [
                {"progress/deadlock": 2},
                {},
                {"transfer-invariants/load-never-ended": 1},
                {"drained/blocks-leaked": 1},
            ],
        ),
    ],
)
def test_what_differed_in_a_real_run_is_what_its_fault_declares(
    archive: str, explains: list[dict[str, int]], tmp_path: Path
) -> None:
    history = with_effects(read_history(unpack(DATA / f"{archive}.tar.xz", tmp_path)))
    judged = judge(history)
    assert judged.outcome == "as expected", judged.reasons
    assert [effect.explains for effect in judged.effects] == explains
