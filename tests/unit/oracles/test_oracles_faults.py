"""faults-fired must not believe in a fault that left no trace, and must see one that nobody planned."""

from __future__ import annotations

import msgspec
import pytest

from history.protocol.evidence import BlockStoredAgain
from history.records import Scalar, Usage
from history.scenario import ServerSettings
from history.verdict import Verdict
from oracles.faults_fired import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import (
    ALLOCATION_FAILURES,
    ANSWER_TOKENS,
    LOAD_TIME,
    OLD_LOAD_TIME,
    PROMPT_TOKENS,
    SECOND,
    STORE_TIME,
    failure,
    fault,
    make_plan,
)

REFUSED_LINE = "WARNING Request cmpl-1: cannot store 2 blocks"
RECOVERED_LINE = "WARNING Recovered from KV load failure: 1 request(s) rescheduled (64 tokens affected)."
FAILED_LINE = "ERROR Failing 1 request(s) due to KV load failure (failure_policy=fail, 64 tokens affected)."
FAIL_POLICY = ServerSettings(gpu_blocks=40, load_failure_policy="fail")
DAMAGE: dict[str, Scalar] = {"block": 3, "bytes_changed": 1}


def armed_run(
    kind: str, *, vllm: str = "0.32.0", limit: int | None = None, server: ServerSettings | None = None
) -> Run:
    return clean_run(make_plan(faults=(fault(kind, limit=limit),), vllm=vllm, server=server))


def log_line(run: Run, line: str) -> None:
    run.log.append(line)
    run.change_event("server_stop", log_line=len(run.log))


def damaged_run() -> Run:
    run = armed_run("bit_flip")
    run.fire("f1", "bit_flip", **DAMAGE)
    run.change_request(run.first_of("chaos"), logprobs=[-0.5, -0.25, -1.75, -0.25])
    return run


# --- a fault with its consequence passes ------------------------------------------------------------


def lookup_miss(cached_tokens: int | None = 0, limit: int | None = None) -> Run:
    """A miss of a request that says how many of its prompt's tokens were cached."""
    run = armed_run("lookup_miss", limit=limit)
    index = run.first_of("chaos")
    usage = Usage(prompt_tokens=PROMPT_TOKENS, completion_tokens=ANSWER_TOKENS, cached_tokens=cached_tokens)
    struck = run.change_request(index, usage=usage)
    run.fire("f1", "lookup_miss", key="ab", hit_blocks=2, answered_blocks=0)
    run.faults[-1] = msgspec.structs.replace(run.faults[-1], request=f"cmpl-{struck.id}-0-1a2b")
    return run


def store_refused_by_log() -> Run:
    run = armed_run("store_refused", vllm="0.18.0")
    run.fire("f1", "store_refused", blocks=2)
    log_line(run, REFUSED_LINE)
    return run


def store_refused_by_counter() -> Run:
    run = armed_run("store_refused")
    run.fire("f1", "store_refused", blocks=2)
    run.bump(ALLOCATION_FAILURES, 1.0, since=run.scrape_in("chaos") + 1)
    return run


def copy_delay(key: str, direction: str, vllm: str) -> Run:
    run = armed_run("copy_delay", vllm=vllm)
    run.fire("f1", "copy_delay", job=1, ms=200, direction=direction)
    run.bump(key, 0.19, since=run.scrape_in("chaos") + 1)
    return run


def load_failure_recovered() -> Run:
    run = armed_run("load_failure")
    run.fire("f1", "load_failure")
    log_line(run, RECOVERED_LINE)
    return run


def load_failure_failed_a_request() -> Run:
    run = armed_run("load_failure", server=FAIL_POLICY)
    run.fire("f1", "load_failure")
    run.change_request(run.first_of("chaos"), **failure("InternalServerError", "load failed"))
    return run


def load_failure_failed_in_the_log() -> Run:
    run = armed_run("load_failure", server=FAIL_POLICY)
    run.fire("f1", "load_failure")
    log_line(run, FAILED_LINE)
    return run


def zeroed_block() -> Run:
    run = armed_run("zero_block")
    run.fire("f1", "zero_block", block=3, bytes_changed=8192)
    run.change_request(run.first_of("healed"), token_ids=[1, 2, 3, 4])
    return run


def flip_to_no_number() -> Run:
    run = armed_run("bit_flip")
    run.fire("f1", "bit_flip", **DAMAGE)
    message = "Out of range float values are not JSON compliant"
    run.change_request(run.first_of("chaos"), **failure("BadRequestError", message, 400))
    return run


CONSEQUENTIAL = {
    "lookup_miss": lookup_miss(),
    "store_refused by log": store_refused_by_log(),
    "store_refused by counter": store_refused_by_counter(),
    "copy_delay load": copy_delay(LOAD_TIME, "load", "0.32.0"),
    "copy_delay store": copy_delay(STORE_TIME, "store", "0.32.0"),
    "copy_delay old names": copy_delay(OLD_LOAD_TIME, "load", "0.18.0"),
    "load_failure recovered": load_failure_recovered(),
    "load_failure failed a request": load_failure_failed_a_request(),
    "load_failure failed in the log": load_failure_failed_in_the_log(),
    "bit_flip": damaged_run(),
    "bit_flip to no number": flip_to_no_number(),
    "zero_block seen later": zeroed_block(),
}


@pytest.mark.parametrize("name", CONSEQUENTIAL)
def test_a_fault_with_its_consequence_passes(name: str) -> None:
    result = judge(CONSEQUENTIAL[name].history())
    assert result.verdict is Verdict.PASS, result.summary
    assert result.figures == {"planned": 1, "fired": 1}


# --- without consequence, arming, firing or healing it is unknown -------------------------------------


@pytest.mark.parametrize(
    ("kind", "evidence", "doubt"),
    [
        ("evict", {"blocks": 2, "key": "ab"}, "not-stored-again"),
        ("store_failed", {"blocks": 2, "key": "ab"}, "not-stored-again"),
        ("store_refused", {"blocks": 2}, "refusals-not-noticed"),
        ("copy_delay", {"job": 1, "ms": 200, "direction": "load"}, "copy-time-too-short"),
        ("load_failure", {}, "no-recovery"),
        ("bit_flip", {"block": 3, "bytes_changed": 1}, "no-damage-shown"),
        ("zero_block", {"block": 3, "bytes_changed": 9}, "no-damage-shown"),
    ],
)
def test_a_fault_that_fired_without_consequence_is_unknown(
    kind: str, evidence: dict[str, Scalar], doubt: str
) -> None:
    run = armed_run(kind)
    run.fire("f1", kind, **evidence)
    gap_of(judge(run.history()), f"faults-fired/{doubt}")


@pytest.mark.parametrize(("cached_tokens", "doubt"), [(32, "cached-all-the-same"), (None, "no-usage")])
def test_a_miss_that_the_server_did_not_compute_itself_is_unknown(
    cached_tokens: int | None, doubt: str
) -> None:
    gap_of(judge(lookup_miss(cached_tokens).history()), f"faults-fired/{doubt}")


@pytest.mark.parametrize("kind", ["evict", "store_failed"])
def test_lost_blocks_that_are_stored_again_pass_and_those_of_another_fault_do_not(kind: str) -> None:
    run = armed_run(kind)
    run.fire("f1", kind, blocks=2, key="ab")
    note = msgspec.to_builtins(BlockStoredAgain(key="ab"))
    run.faults.append(msgspec.structs.replace(run.faults[-1], event="note", evidence=note, fault="f2"))
    assert judge(run.history()).verdict is Verdict.UNKNOWN
    run.faults.append(msgspec.structs.replace(run.faults[-1], fault="f1"))
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_policy_that_failed_no_request_is_unknown() -> None:
    run = armed_run("load_failure", server=FAIL_POLICY)
    run.fire("f1", "load_failure")
    gap_of(judge(run.history()), "faults-fired/no-request-failed-by-policy")


def test_refusals_above_the_server_count_are_unknown() -> None:
    run = store_refused_by_log()
    run.fire("f1", "store_refused", blocks=1)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_damage_before_the_fault_is_not_its_consequence() -> None:
    run = damaged_run()
    run.change_request(run.first_of("chaos"), logprobs=[-0.5, -0.25, -1.75, -0.125])
    first = run.first_of("golden")
    run.change_request(first + 1, prompt_id="prompt-0", logprobs=[-0.5, -0.25, -1.75, -0.25])
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_a_flip_that_changed_no_byte_did_not_fire() -> None:
    run = damaged_run()
    run.faults.clear()
    run.fire("f1", "bit_flip", block=3, bytes_changed=0)
    gap_of(judge(run.history()), "faults-fired/never-fired")


def test_a_load_failure_of_no_block_did_not_fire() -> None:
    run = load_failure_recovered()
    nothing = msgspec.structs.replace(run.faults[-1], evidence={"blocks": [], "of": 0})
    run.faults[-1] = nothing
    gap_of(judge(run.history()), "faults-fired/never-fired")


@pytest.mark.parametrize(("kind", "gap"), [("armed", "never-armed"), ("healed", "not-healed")])
def test_a_step_that_is_missing_is_unknown(kind: str, gap: str) -> None:
    run = lookup_miss()
    if kind == "armed":
        run.faults.clear()
    run.drop_events(kind)
    gap_of(judge(run.history()), f"faults-fired/{gap}")


def test_a_heal_that_was_not_confirmed_is_unknown() -> None:
    run = lookup_miss()
    run.change_event("healed", confirmed=False)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


# --- what the plan does not allow fails -------------------------------------------------------------


def test_a_fault_that_fires_in_a_run_without_faults_fails() -> None:
    run = clean_run()
    run.fire_at(run.now_ns, "f1", "bit_flip", **DAMAGE)
    assert judge(run.history()).verdict is Verdict.FAIL


def test_a_fault_that_is_not_in_the_plan_fails() -> None:
    run = lookup_miss()
    run.fire("f2", "bit_flip", **DAMAGE)
    assert finding_of(judge(run.history()), "faults-fired/unplanned").subject.name == "f2"


def test_a_fault_that_fires_more_often_than_its_limit_fails() -> None:
    run = lookup_miss(limit=2)
    run.fire("f1", "lookup_miss", hit_blocks=1, answered_blocks=0)
    assert judge(run.history()).verdict is Verdict.PASS
    run.fire("f1", "lookup_miss", hit_blocks=1, answered_blocks=0)
    assert finding_of(judge(run.history()), "faults-fired/over-limit").figures == {"limit": 2}


@pytest.mark.parametrize(("kind", "offset"), [("armed", -2 * SECOND), ("healed", 2 * SECOND)])
def test_a_fault_that_fires_while_it_is_not_armed_fails(kind: str, offset: int) -> None:
    run = lookup_miss()
    moment = next(event.t_ns for event in run.events if event.kind == kind)
    run.fire_at(moment + offset, "f1", "lookup_miss", hit_blocks=1, answered_blocks=0)
    finding_of(judge(run.history()), "faults-fired/not-armed")


@pytest.mark.parametrize(("kind", "offset"), [("armed", -SECOND // 2), ("healed", SECOND // 2)])
def test_firing_within_the_clock_tolerance_of_events_passes(kind: str, offset: int) -> None:
    run = lookup_miss()
    moment = next(event.t_ns for event in run.events if event.kind == kind)
    run.fire_at(moment + offset, "f1", "lookup_miss", hit_blocks=1, answered_blocks=0)
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_run_without_faults_passes_only_with_a_silent_journal() -> None:
    result = judge(clean_run().history())
    assert result.verdict is Verdict.PASS
    assert result.checked == 1
    assert result.figures == {"planned": 0}


def test_copy_delayed_before_healing_may_complete_after_it() -> None:
    run = clean_run(make_plan(faults=(fault("copy_delay"),)))
    healed = next(event for event in run.events if event.kind == "healed")
    run.fire_at(healed.t_ns + 5 * SECOND, "f1", "copy_delay", job=1, direction="load", ms=5_500)
    assert judge(run.history()).by_rule == {}
    run.fire_at(healed.t_ns + 5 * SECOND, "f1", "copy_delay", job=2, direction="load", ms=100)
    assert judge(run.history()).by_rule == {"faults-fired/not-armed": 1}


def test_a_process_whose_ledger_has_no_fault_journal_beside_it_is_a_gap() -> None:
    """The journal of one process of the server can be lost, and those of the others be whole."""
    run = clean_run()
    run.ledger.append(msgspec.structs.replace(run.ledger[0], role="scheduler", pid=101))
    gap = gap_of(judge(run.history()), "faults-fired/process-without-journal")
    assert gap.figures == {"pid": 101}
