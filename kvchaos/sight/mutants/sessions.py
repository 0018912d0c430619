"""The runs of a proof: which mutants share one, and what is special about it."""

from __future__ import annotations

from kvchaos.sight.acts import Act, Burden, arm_unplanned
from kvchaos.sight.mutants import answering, telling, watching
from kvchaos.sight.mutants.mutant import Mutant, Session, broken, one, unknown
from oracles import client, drained, faults, ledger, offload, performance, progress

MISS = {"id": "miss", "kind": "lookup_miss", "trigger": {"every": 3, "limit": 2}}
UNTOUCHED = "untouched"
"""Nothing is altered, and a fault strikes that the contract allows: all oracles must pass."""
RECOVER_S = 2.0
ROOM_FOR_ALL = 600
"""Blocks on the device."""


def sessions() -> tuple[Session, ...]:
    """Made anew at each call: mutations remember what they did."""
    return (Session(UNTOUCHED, faults=(MISS,)), *_mixed(), *_alone())


def _mixed() -> tuple[Session, ...]:
    """Mutants that different oracles find, at most one for each, so that each finding has one cause."""
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
    what = "a fault strikes that nobody planned"
    return one("unplanned-fault", what, Act(arm_unplanned), broken(faults.UNPLANNED, "unplanned"))


def _slow_client() -> Mutant:
    kills = (unknown(client.NAME), unknown(performance.NAME))
    return Mutant("slow-client", "events that keep the client busy", (Burden(),), kills)


def _never_offloaded() -> Mutant:
    return Mutant("never-offloaded", "the device has room for everything", (), (unknown(offload.NAME),))


def _lost_end() -> Mutant:
    kills = (
        broken(ledger.NEVER_ENDED["loads"]),
        broken(progress.DEADLOCK),
        broken(drained.BLOCKS_LEAKED),
        broken(drained.GAUGE, "vllm:kv_cache_usage_perc"),
    )
    return Mutant("lost-end", "a fault inside the server: the end of a load is never told", (), kills)
