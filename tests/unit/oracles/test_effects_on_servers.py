"""A fault that ends the server, or leaves a request waiting, explains that: not less, and nothing else."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.support.contract_violating_runs import DIED, end_server, explained, struck, verdict
from tests.support.histories import Run
from tests.support.synthetic_records import MS, SECOND, failure


def test_server_exit_soon_after_a_firing_is_explained_with_its_follow_up() -> None:
    run = struck("copy_failed", 1)
    end_server(run, SECOND)
    run.change_request(run.first_of("chaos") + 1, **failure("ReadError", "gone", 200))
    judged = verdict(run)
    assert judged.outcome == "as expected", judged.reasons
    assert explained(judged) == {DIED: 1}
    assert [cause.rule for cause in judged.causes] == [DIED]


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("Traceback (most recent call last):", "as expected"),
        ("malloc(): corrupted top size", "not as expected"),
        ("Out of memory: Killed process 4242 (VLLM::EngineCor)", "not as expected"),
    ],
)
def test_a_crash_of_native_code_does_not_follow_from_a_death_that_a_fault_explains(
    line: str, outcome: str
) -> None:
    run = struck("copy_failed", 1)
    end_server(run, SECOND)
    run.log.insert(1, line)
    assert verdict(run).outcome == outcome


def test_server_that_survives_a_fatal_fault_is_not_as_expected() -> None:
    judged = verdict(struck("copy_failed", 1))
    assert judged.outcome == "not as expected"
    assert any(DIED in reason for reason in judged.reasons)


def test_a_death_long_after_the_firing_is_not_explained() -> None:
    run = struck("copy_failed", 1)
    end_server(run, 31 * SECOND)
    assert explained(verdict(run)) == {}
    assert verdict(run).outcome == "not as expected"


def test_second_server_exit_stays_unexplained() -> None:
    run = struck("copy_failed", 1)
    end_server(run, SECOND)
    run.event("server_start", pid=5, port=8123, log_line=len(run.log))
    run.event("server_exit", code=1, pid=5)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert explained(judged) == {DIED: 1}
    assert any(" 1 of 2 " in line and DIED in line for line in judged.reasons)


def test_firings_in_two_incarnations_require_two_exits() -> None:
    run = struck("copy_failed", 1)
    end_server(run, SECOND)
    run.event("server_start", pid=5, port=8123, log_line=len(run.log))
    run.fire_at(run.now_ns + MS, "f1", "copy_failed", direction="load")
    judged = verdict(run)
    assert [(effect.least, effect.missing) for effect in judged.effects] == [(2, True)]


def given_up(run: Run, index: int) -> str:
    """The client gave a request up that had no token; its id."""
    return run.change_request(
        run.first_of("chaos") + index, **failure("DeadlineExceeded", "no end", 200), end_us=100_000
    ).id


def lost(run: Run) -> None:
    """What a lost load holds to the end."""
    run.change_event("leak_probe", ok=False)
    books = run.ledger[-2]
    since = run.requests[run.first_of("chaos") + 1].start_ns
    run.ledger[-2] = replace(books, evidence={**books.evidence, "loads_open": 1, "loads_since_ns": since})


def test_lost_load_explains_its_waiting_request_and_retained_blocks() -> None:
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


def test_stall_of_another_request_stays_unexplained() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    lost(run)
    other = given_up(run, 3)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert any(other in line and "progress/deadline" in line for line in judged.reasons)


def test_aborted_answer_of_another_request_stays_unexplained() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    lost(run)
    other = run.change_request(run.first_of("chaos") + 3, **failure("ReadError", "gone", 200)).id
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    assert any(other in line and "outcomes/truncated-stream" in line for line in judged.reasons)


def test_lost_load_without_retained_blocks_is_not_as_expected() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    judged = verdict(run)
    assert judged.outcome == "not as expected"
    missing = {effect.rules[0] for effect in judged.effects if effect.missing}
    assert missing == {"transfer-invariants/load-never-ended", "drained/blocks-leaked"}


def test_extra_finding_on_the_same_subject_stays_unexplained() -> None:
    run = struck("completion_lost", 1)
    given_up(run, 1)
    lost(run)
    run.event("leak_probe", ok=False, answer="false", detail="")
    assert verdict(run).effects[-1].explains == {"drained/blocks-leaked": 1}


def test_leak_before_the_firing_is_not_explained_by_the_fault() -> None:
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
    run.event("stall", seconds=0.01, running=1, waiting=0, detail="")
    waits = run.requests[run.first_of("chaos") + 1]
    stalled = replace(run.events.pop(), t_ns=waits.start_ns + 90 * MS + later_s * SECOND)
    run.events = sorted([*run.events, stalled], key=lambda event: event.t_ns)
    judged = verdict(run)
    assert judged.outcome == outcome, judged.reasons


def test_lost_store_completion_explains_no_finding() -> None:
    run = struck("completion_lost", 1, direction="store")
    given_up(run, 1)
    judged = verdict(run)
    assert (judged.effects, judged.outcome) == ([], "not as expected")
