"""A fault in how copies end, or in what they bring, is believed only by a sign of the server or a client."""

from __future__ import annotations

import pytest

from chaos.inside.faults import KINDS
from history.records import Event, Scalar
from history.verdict import OracleResult, Verdict
from oracles.consequence import SIGNS
from oracles.faults import judge
from tests.unit.histories import MS, Run, clean_run, failure, fault, make_plan

DYING = ("copy_refused", "copy_failed", "completion_twice")
DAMAGING = sorted(name for name, kind in KINDS.items() if kind.site == "content")
JOB: dict[str, Scalar] = {"job": 3, "direction": "load"}
DAMAGE: dict[str, Scalar] = {"block": 3, "bytes_changed": 9, "direction": "store"}


def struck(kind: str, **evidence: Scalar) -> Run:
    """A clean run in which the fault fired 10 ms after it was armed, while a first request waits."""
    run = clean_run(make_plan(faults=(fault(kind),)))
    run.fire("f1", kind, **evidence)
    return run


def doubted(run: Run, doubt: str) -> bool:
    """Whether the oracle says unknown for this reason."""
    result = judge(run.history())
    return result.verdict is Verdict.UNKNOWN and doubt in result.summary


def passed(run: Run) -> bool:
    return judge(run.history()).verdict is Verdict.PASS


def test_every_fault_of_the_catalogue_has_a_sign() -> None:
    assert SIGNS.keys() == KINDS.keys()


# --- what kills the server --------------------------------------------------------------------------


def dead(kind: str, *, before_strike: bool = False) -> OracleResult:
    """The server dies a little after the strike, or a little before it."""
    run = struck(kind, **JOB)
    moment = run.faults[0].t_ns + (-MS if before_strike else 30 * MS)
    run.events.append(Event(t_ns=moment, mono_ns=moment, kind="server_exit", data={"code": 1}))
    return judge(run.history())


@pytest.mark.parametrize("kind", DYING)
def test_a_server_that_died_of_it_is_the_sign(kind: str) -> None:
    assert dead(kind).verdict is Verdict.PASS


@pytest.mark.parametrize("kind", DYING)
def test_a_server_that_was_dead_before_did_not_die_of_it(kind: str) -> None:
    result = dead(kind, before_strike=True)
    assert (result.verdict, "lived on" in result.summary) == (Verdict.UNKNOWN, True)


@pytest.mark.parametrize("kind", DYING)
def test_a_server_that_lived_on_leaves_it_in_doubt(kind: str) -> None:
    assert doubted(struck(kind, **JOB), "the server lived on")


# --- an end that is told late -------------------------------------------------------------------------


def test_a_request_without_a_token_meanwhile_waited() -> None:
    assert passed(struck("completion_late", **JOB, ms=10))


def test_a_request_that_got_tokens_before_and_after_waited_too() -> None:
    run = struck("completion_late", **JOB, ms=60)
    preempted = run.first_of("chaos")
    run.change_request(preempted, first_us=5_000, chunk_us=[5_000, 80_000, 90_000])
    assert passed(run)


@pytest.mark.parametrize("ms", [30, 60])
def test_a_request_that_got_a_token_meanwhile_did_not_wait(ms: int) -> None:
    assert doubted(struck("completion_late", **JOB, ms=ms), f"no request waited the {ms} ms")


def test_a_request_that_ended_before_the_end_was_told_did_not_wait() -> None:
    run = struck("completion_late", **JOB, ms=200)
    run.change_request(run.first_of("chaos"), first_us=None, chunk_us=[])
    assert doubted(run, "no request waited")


def test_one_late_end_of_several_without_a_waiting_request_is_enough_for_doubt() -> None:
    run = struck("completion_late", **JOB, ms=10)
    run.fire("f1", "completion_late", **JOB, ms=5_000)
    assert doubted(run, "no request waited the 5000 ms of arrival 1")


def test_nothing_waits_for_a_store_that_is_told_late() -> None:
    assert passed(struck("completion_late", job=3, direction="store", ms=5_000))


def test_a_late_end_that_does_not_tell_how_late_is_in_doubt() -> None:
    assert doubted(struck("completion_late", **JOB), "no firing tells its delay")


# --- an end that is never told ------------------------------------------------------------------------


def test_a_missed_deadline_shows_a_lost_end() -> None:
    run = struck("completion_lost", **JOB)
    run.change_request(run.first_of("chaos"), **failure("DeadlineExceeded", "given up", None))
    assert passed(run)


def test_another_error_does_not_show_a_lost_end() -> None:
    run = struck("completion_lost", **JOB)
    run.change_request(run.first_of("chaos"), **failure("InternalServerError", "no"))
    assert doubted(run, "nothing waits for it")


def test_a_stall_shows_a_lost_end() -> None:
    run = struck("completion_lost", **JOB)
    run.event("stall", seconds=6.0, running=1, waiting=0, detail="")
    assert passed(run)


@pytest.mark.parametrize("probe", ["leak_probe", "drained"])
def test_blocks_that_stay_held_show_a_lost_end(probe: str) -> None:
    run = struck("completion_lost", job=3, direction="store")
    run.change_event(probe, ok=False)
    assert passed(run)


def test_a_lost_end_that_nothing_waits_for_is_in_doubt() -> None:
    assert doubted(struck("completion_lost", **JOB), "nothing waits for it")


# --- another order --------------------------------------------------------------------------------------


def test_the_journal_is_all_there_is_of_another_order() -> None:
    assert passed(struck("completion_reorder"))


def test_an_order_that_was_never_changed_is_unknown() -> None:
    run = struck("completion_reorder")
    run.faults.clear()
    assert doubted(run, "never fired")


# --- wrong content --------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["chaos", "healed"])
@pytest.mark.parametrize("kind", DAMAGING)
def test_another_answer_shows_damage_now_or_later(kind: str, phase: str) -> None:
    run = struck(kind, **DAMAGE)
    run.change_request(run.first_of(phase), logprobs=[-0.5, -0.25, -1.75, -0.25])
    assert passed(run)


@pytest.mark.parametrize("kind", DAMAGING)
def test_damage_that_no_answer_shows_is_in_doubt(kind: str) -> None:
    assert doubted(struck(kind, **DAMAGE), "no answer shows the damage")


NULL = "Expected `float`, got `null` - at `$.choices[0].logprobs.token_logprobs[3]`"


@pytest.mark.parametrize(
    ("kind", "message", "status"),
    [
        ("BadRequestError", "Out of range float values are not JSON compliant", 400),
        ("MalformedChunk", NULL, 200),
    ],
)
def test_an_answer_that_is_not_a_number_shows_damage(kind: str, message: str, status: int) -> None:
    run = struck("nan", **DAMAGE)
    run.change_request(run.first_of("chaos"), **failure(kind, message, status))
    assert passed(run)


def test_another_malformed_answer_does_not_show_damage() -> None:
    run = struck("nan", **DAMAGE)
    message = NULL.replace("logprobs.token_logprobs[3]", "text")
    run.change_request(run.first_of("chaos"), **failure("MalformedChunk", message, 200))
    assert doubted(run, "no answer shows the damage")


def test_damage_that_changed_no_byte_did_not_fire() -> None:
    run = struck("truncate_block", block=3, bytes_changed=0, direction="load")
    run.change_request(run.first_of("chaos"), logprobs=[-0.5, -0.25, -1.75, -0.25])
    assert doubted(run, "never fired with effect")
