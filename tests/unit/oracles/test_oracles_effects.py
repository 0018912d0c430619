"""A fault in how copies end, or in what they bring, is believed only by a sign of the server or a client."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
from msgspec.structs import replace

from chaos.inside.inside_kinds import KINDS
from history.events import ServerExit
from history.protocol.evidence import LoadRetried
from history.records import Event, Scalar
from history.scenario import ServerSettings
from history.verdict import OracleResult, Verdict
from oracles.faults_fired import judge
from oracles.views.struck_requests import concerns
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import gap_kinds, gap_of
from tests.support.synthetic_records import MS, failure, fault, good_request, make_plan

DYING = ("copy_refused", "copy_failed", "completion_twice", "manager_raises", "copy_raises")
DAMAGING = sorted(name for name, kind in KINDS.items() if kind.site == "content")
JOB: dict[str, Scalar] = {"job": 3, "direction": "load"}
DAMAGE: dict[str, Scalar] = {"block": 3, "bytes_changed": 9, "direction": "store"}


def struck(kind: str, **evidence: Scalar) -> Run:
    """A clean run in which the fault fired 10 ms after it was armed, while a first request waits."""
    run = clean_run(make_plan(faults=(fault(kind),)))
    run.fire("f1", kind, **evidence)
    return run


def name_request(run: Run, phase: str) -> None:
    """Let the last firing name the first request of a phase, as the server calls it."""
    name = f"cmpl-{run.requests[run.first_of(phase)].id}-0-8d87c8ec"
    run.faults[-1] = replace(run.faults[-1], request=name)


def doubted(run: Run, doubt: str, **figures: int) -> bool:
    """Whether the oracle says unknown for this reason alone."""
    result = judge(run.history())
    gaps = [(gap.kind, gap.figures) for gap in result.gaps]
    return result.verdict is Verdict.UNKNOWN and gaps == [(f"faults-fired/{doubt}", figures)]


def passed(run: Run) -> bool:
    return judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cmpl-chaos-3-0-8d87c8ec", True),
        ("cmpl-chaos-3-0", True),
        ("cmpl-chaos-36-0-8d87c8ec", False),
        ("cmpl-golden-chaos-3-0-8d87c8ec", False),
        ("chaos-3", False),
        (None, False),
    ],
)
def test_server_request_name_matches_its_request(name: str | None, meant: bool) -> None:
    assert concerns(name, good_request("chaos-3", "p", "chaos", 0)) is meant


# --- what kills the server --------------------------------------------------------------------------


def dead(kind: str, *, before_strike: bool = False) -> OracleResult:
    """The server dies a little after the strike, or a little before it."""
    run = struck(kind)
    moment = run.faults[-1].t_ns + (-MS if before_strike else 30 * MS)
    run.events.append(Event(t_ns=moment, mono_ns=moment, kind=ServerExit.kind, data={"code": 1}))
    return judge(run.history())


@pytest.mark.parametrize("kind", DYING)
def test_fatal_fault_is_effective_by_the_server_exit(kind: str) -> None:
    assert dead(kind).verdict is Verdict.PASS


@pytest.mark.parametrize("kind", DYING)
def test_server_exit_before_the_strike_is_no_effect(kind: str) -> None:
    gap_of(dead(kind, before_strike=True), "faults-fired/server-lived-on")


@pytest.mark.parametrize("kind", DYING)
def test_fatal_fault_without_server_exit_is_not_effective(kind: str) -> None:
    assert doubted(struck(kind), "server-lived-on")


# --- an end that is told late -------------------------------------------------------------------------


def test_late_completion_is_effective_by_a_request_without_tokens_meanwhile() -> None:
    assert passed(struck("completion_late", **JOB, ms=10))


def test_late_completion_is_effective_by_a_token_gap_of_its_delay() -> None:
    run = struck("completion_late", **JOB, ms=60)
    preempted = run.first_of("chaos")
    run.change_request(preempted, first_us=5_000, chunk_us=[5_000, 80_000, 90_000])
    assert passed(run)


@pytest.mark.parametrize("ms", [30, 60])
def test_token_during_the_delay_of_a_completion_is_no_effect(ms: int) -> None:
    assert doubted(struck("completion_late", **JOB, ms=ms), "no-wait", ms=ms)


def test_request_that_ended_before_the_late_completion_is_no_effect() -> None:
    run = struck("completion_late", **JOB, ms=200)
    run.change_request(run.first_of("chaos"), first_us=None, chunk_us=[])
    assert doubted(run, "no-wait", ms=200)


def test_each_late_completion_needs_a_waiting_request() -> None:
    run = struck("completion_late", **JOB, ms=10)
    run.fire("f1", "completion_late", **JOB, ms=5_000)
    assert doubted(run, "no-wait", ms=5_000)


def late_store(begun_before_ms: int, lasted_ms: int) -> Run:
    """Of the stores the longest began so long before the strike."""
    run = struck("completion_late", job=3, direction="store", ms=10)
    begun_ns = run.faults[-1].t_ns - begun_before_ms * MS
    run.audit_line("scheduler", "balance", stores_longest_since_ns=begun_ns, stores_longest_ns=lasted_ms * MS)
    return run


def test_late_store_completion_is_effective_by_an_open_transfer() -> None:
    assert passed(late_store(begun_before_ms=2, lasted_ms=14))


@pytest.mark.parametrize(("before_ms", "lasted_ms"), [(2, 9), (30, 25), (-5, 20)])
def test_store_not_open_for_the_whole_delay_is_not_effective(before_ms: int, lasted_ms: int) -> None:
    assert doubted(late_store(before_ms, lasted_ms), "no-store-kept-open")


def test_late_store_without_transfer_audit_is_not_effective() -> None:
    assert doubted(struck("completion_late", job=3, direction="store", ms=10), "no-store-kept-open")


def test_late_load_completion_requires_its_own_request_to_wait() -> None:
    run = struck("completion_late", **JOB, ms=10)
    name_request(run, "chaos")
    assert passed(run)
    other = struck("completion_late", **JOB, ms=10)
    # Another request that waits is no sign of this one.
    name_request(other, "healed")
    assert doubted(other, "no-wait", ms=10)


# --- an end that is never told ------------------------------------------------------------------------


def test_lost_completion_is_effective_by_a_missed_deadline() -> None:
    run = struck("completion_lost", **JOB)
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "given up", None))
    assert passed(run)


def test_unrelated_error_is_no_effect_of_a_lost_completion() -> None:
    run = struck("completion_lost", **JOB)
    run.change_request(run.first_of("chaos"), **failure("InternalServerError", "no"))
    assert doubted(run, "nothing-waits")


def test_lost_completion_is_effective_by_a_stall() -> None:
    run = struck("completion_lost", **JOB)
    run.event("stall", seconds=6.0, running=1, waiting=0, detail="")
    assert passed(run)


@pytest.mark.parametrize("probe", ["leak_probe", "drained"])
def test_lost_completion_is_effective_by_leaked_blocks(probe: str) -> None:
    run = struck("completion_lost", job=3, direction="store")
    run.change_event(probe, ok=False)
    assert passed(run)


def test_unanswered_leak_probe_is_no_effect_of_a_lost_completion() -> None:
    run = struck("completion_lost", **JOB)
    run.change_event("leak_probe", ok=None)
    assert doubted(run, "nothing-waits")


def test_lost_completion_without_a_waiting_request_is_not_effective() -> None:
    assert doubted(struck("completion_lost", **JOB), "nothing-waits")


# --- another order --------------------------------------------------------------------------------------


def reordered(*directions: str) -> Run:
    """Ends of copies of the first request of the phase, told in reverse."""
    run = struck("completion_reorder")
    name_request(run, "chaos")
    name = str(run.faults[-1].request)
    evidence: dict[str, Scalar | list[int | str]] = {
        "jobs": list(range(len(directions))),
        "directions": [*directions],
        "requests": [name] * len(directions),
    }
    run.faults[-1] = replace(run.faults[-1], evidence=evidence)
    return run


def test_reordered_load_completions_are_effective_when_requests_continue() -> None:
    assert passed(reordered("load", "store", "load"))


def test_reorder_without_later_tokens_is_not_effective() -> None:
    run = reordered("load", "load")
    run.change_request(run.first_of("chaos"), first_us=None, chunk_us=[])
    assert doubted(run, "no-token-afterwards")


def test_reordered_store_completions_are_not_effective() -> None:
    assert doubted(reordered("store", "store"), "no-order-shown")


def test_reorder_of_copies_without_request_is_not_effective() -> None:
    assert doubted(reordered("", ""), "no-order-shown")


def test_reorder_that_never_fired_is_unknown() -> None:
    run = struck("completion_reorder")
    run.faults.clear()
    assert "faults-fired/never-fired" in gap_kinds(judge(run.history()))


# --- a load that failed as a whole ----------------------------------------------------------------------


def failed_load(policy: Literal["recompute", "fail"] = "recompute") -> Run:
    plan = make_plan(
        faults=(fault("load_failed"),),
        server=ServerSettings(gpu_blocks=40, load_failure_policy=policy),
    )
    run = clean_run(plan)
    run.fire("f1", "load_failed", blocks=4)
    name_request(run, "chaos")
    return run


def note(run: Run, *, request: str | None, after_ms: int = 1) -> None:
    struck = run.faults[-1]
    moment = struck.t_ns + after_ms * MS
    written = msgspec.to_builtins(LoadRetried())
    run.faults.append(
        replace(struck, t_ns=moment, event="note", fault=None, kind=None, request=request, evidence=written)
    )


def test_load_failure_is_effective_by_a_retry_of_its_request() -> None:
    run = failed_load()
    note(run, request=run.faults[-1].request)
    assert passed(run)


def test_load_failure_without_a_retry_is_not_effective() -> None:
    assert doubted(failed_load(), "not-asked-again")


def test_retry_of_another_request_is_no_effect_of_a_load_failure() -> None:
    run = failed_load()
    note(run, request="cmpl-other-0-8d87c8ec")
    assert doubted(run, "not-asked-again")


def test_retry_before_the_strike_is_no_effect_of_a_load_failure() -> None:
    run = failed_load()
    note(run, request=run.faults[-1].request, after_ms=-1)
    assert doubted(run, "not-asked-again")


def test_policy_fail_requires_the_failure_of_the_struck_request() -> None:
    assert doubted(failed_load("fail"), "no-request-failed-by-policy")
    run = failed_load("fail")
    run.change_request(run.first_of("chaos"), **failure("InternalServerError", "no"))
    assert passed(run)
    other = failed_load("fail")
    other.change_request(other.first_of("chaos") + 1, **failure("InternalServerError", "no"))
    assert doubted(other, "no-request-failed-by-policy")


# --- wrong content --------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["chaos", "healed"])
@pytest.mark.parametrize("kind", DAMAGING)
def test_damage_is_effective_by_a_changed_answer_now_or_later(kind: str, phase: str) -> None:
    run = struck(kind, **DAMAGE)
    run.change_request(run.first_of(phase), logprobs=[-0.5, -0.25, -1.75, -0.25])
    assert passed(run)


@pytest.mark.parametrize("kind", DAMAGING)
def test_damage_without_a_changed_answer_is_not_effective(kind: str) -> None:
    assert doubted(struck(kind, **DAMAGE), "no-damage-shown")


NULL = "Expected `float`, got `null` - at `$.choices[0].logprobs.token_logprobs[3]`"


@pytest.mark.parametrize(
    ("kind", "message", "status"),
    [
        ("BadRequestError", "Out of range float values are not JSON compliant", 400),
        ("MalformedChunk", NULL, 200),
    ],
)
def test_nan_damage_is_effective_by_a_nan_answer(kind: str, message: str, status: int) -> None:
    run = struck("nan", **DAMAGE)
    run.change_request(run.first_of("chaos"), **failure(kind, message, status))
    assert passed(run)


def test_unrelated_malformed_answer_is_no_effect_of_damage() -> None:
    run = struck("nan", **DAMAGE)
    message = NULL.replace("logprobs.token_logprobs[3]", "text")
    run.change_request(run.first_of("chaos"), **failure("MalformedChunk", message, 200))
    assert doubted(run, "no-damage-shown")


def test_damage_that_changed_no_byte_did_not_fire() -> None:
    run = struck("truncate_block", block=3, bytes_changed=0, direction="load")
    run.change_request(run.first_of("chaos"), logprobs=[-0.5, -0.25, -1.75, -0.25])
    assert doubted(run, "never-fired")
