"""The runs of a proof: which mutants share one, and what is special about it."""

from __future__ import annotations

from history.verdict import Verdict
from kvchaos.sight.acts import Act, Burden, arm_unplanned
from kvchaos.sight.mutants import answering, telling, watching
from kvchaos.sight.mutants.mutant import Found, Mutant, Session, one
from oracles import client, drained, ledger, offload, performance, progress

MISS = {"id": "miss", "kind": "lookup_miss", "trigger": {"every": 3, "limit": 2}}
RECOVER_S = 2.0
ROOM_FOR_ALL = 600
"""Blocks on the device."""


def sessions() -> tuple[Session, ...]:
    """Made anew at each call: mutations remember what they did."""
    return (Session("untouched"), *_mixed(), *_alone())


def _mixed() -> tuple[Session, ...]:
    """Mutants that different oracles find, at most one for each, so that each witness has one cause."""
    return (
        Session(
            "one",
            (
                telling.counter_steps_back(),
                telling.running_for_ever(),
                telling.crash_in_the_log(),
                telling.first_token_overcounted(),
                answering.other_logprob(),
            ),
        ),
        Session(
            "two",
            (
                telling.nan_sample(),
                telling.blocks_in_use(),
                telling.prompt_tokens_overcounted(),
                answering.other_token(),
                answering.wrong_prompt_usage(),
            ),
        ),
        Session(
            "three",
            (
                telling.negative_sample(),
                telling.reset_refused(),
                telling.sockets_kept(),
                telling.answer_overcounted(),
                answering.foreign_answer(),
            ),
        ),
        Session(
            "four",
            (
                telling.buckets_not_cumulative(),
                telling.sick_by_health(),
                telling.finish_overcounted(),
                answering.token_twice(),
            ),
        ),
        Session(
            "five",
            (
                telling.count_beside_its_buckets(),
                telling.hits_above_lookups(),
                answering.token_lost(),
            ),
        ),
    )


def _alone() -> tuple[Session, ...]:
    """Mutants of one kind, and such as need a run of their own."""
    broken = (answering.truncated(), answering.cut(), answering.error_event(), answering.status_500())
    struck = (answering.harm_beside_a_fault(), answering.late_recovery())
    return (
        Session("broken-streams", broken),
        Session("struck", struck, faults=(MISS,), limits={"recover_s": RECOVER_S}),
        Session("held", (answering.held(),)),
        Session("false-health", (telling.dead_behind_green_health(),)),
        Session("slow-client", (_slow_client(),), client={"lag_ms": 50}),
        Session(
            "slow",
            # No answer is wrong here, for which a fault that strikes could be blamed.
            (answering.slow(), answering.wrong_cached_usage(), _unplanned_fault()),
            client={"lag_ms": 1000, "late_ms": 1000},
            load={"ttft_p99_ms": 3000},
        ),
        Session(
            "never-offloaded",
            (_never_offloaded(),),
            server={"gpu_blocks": ROOM_FOR_ALL},
            prometheus=True,
        ),
        Session("two-witnesses", watching.disagreements(), prometheus=True),
        Session(
            "offload-off",
            (telling.hits_without_offload(),),
            server={"offload": False, "chaos": False, "audit": False},
        ),
        Session("lost-end", (_lost_end(),), hostile=True),
    )


def _unplanned_fault() -> Mutant:
    words = {"faults_fired": "unplanned fired, which is not in the plan"}
    return one("unplanned-fault", "a fault strikes that nobody planned", Act(arm_unplanned), **words)


def _slow_client() -> Mutant:
    found = Found("the client was the limit", Verdict.UNKNOWN)
    kills = {client.NAME: found, performance.NAME: found}
    return Mutant("slow-client", "events that keep the client busy", (Burden(),), kills)


def _never_offloaded() -> Mutant:
    found = Found("the offload tier was never read", Verdict.UNKNOWN)
    return Mutant("never-offloaded", "the device has room for everything", (), {offload.NAME: found})


def _lost_end() -> Mutant:
    found = {
        ledger.NAME: Found("prepared loads never ended|copies never ended"),
        progress.NAME: Found("stalled for"),
        drained.NAME: Found("blocks still held|after draining|did not drain"),
    }
    return Mutant("lost-end", "a fault inside the server: the end of a load is never told", (), found)
