"""The runs of a proof: which mutants share one, and what is special about it."""

from __future__ import annotations

from kvchaos.selftest.mutants import response_mutants, server_mutants
from kvchaos.selftest.mutants.mutant import Mutant, Session, inconclusive, single_mutant, violates
from kvchaos.selftest.server_mutations import RunAction, arm_unplanned_fault
from kvchaos.selftest.stream_mutations import ExpensiveEvents
from oracles import drained, faults_fired, load_client, offload, performance, progress, transfer_invariants

LOOKUP_MISS = {"id": "miss", "kind": "lookup_miss", "trigger": {"every": 3, "limit": 2}}
UNTOUCHED = "untouched"
"""Nothing is altered, and a fault strikes that the contract allows: all oracles must pass."""
RECOVERY_BOUND_S = 2.0
BLOCKS_FOR_ALL = 600
"""Blocks on the device."""


def sessions() -> tuple[Session, ...]:
    """New sessions at each call, since mutations have state."""
    return (Session(UNTOUCHED, faults=(LOOKUP_MISS,)), *_mixed(), *_alone())


def _mixed() -> tuple[Session, ...]:
    """Mutants that different oracles find, at most one for each, so that each finding has one cause."""
    return (
        Session(
            "one",
            (
                server_mutants.counter_steps_back(),
                server_mutants.running_for_ever(),
                server_mutants.crash_in_the_log(),
                server_mutants.first_token_overcounted(),
                response_mutants.other_logprob(),
            ),
        ),
        Session(
            "two",
            (
                server_mutants.nan_sample(),
                server_mutants.blocks_in_use(),
                server_mutants.prompt_tokens_overcounted(),
                response_mutants.other_token(),
                response_mutants.wrong_prompt_usage(),
            ),
        ),
        Session(
            "three",
            (
                server_mutants.negative_sample(),
                server_mutants.reset_refused(),
                server_mutants.sockets_kept(),
                server_mutants.answer_overcounted(),
                response_mutants.foreign_answer(),
            ),
        ),
        Session(
            "four",
            (
                server_mutants.buckets_not_cumulative(),
                server_mutants.sick_by_health(),
                server_mutants.finish_overcounted(),
                response_mutants.token_twice(),
            ),
        ),
        Session(
            "five",
            (
                server_mutants.count_beside_its_buckets(),
                server_mutants.hits_above_lookups(),
                response_mutants.token_lost(),
            ),
        ),
    )


def _alone() -> tuple[Session, ...]:
    """Mutants of one kind, and such as need a run of their own."""
    broken_streams = (
        response_mutants.truncated(),
        response_mutants.connection_cut(),
        response_mutants.error_event(),
        response_mutants.status_500(),
    )
    struck = (response_mutants.unrelated_answer_wrong(), response_mutants.late_recovery())
    return (
        Session("broken-streams", broken_streams),
        Session("struck", struck, faults=(LOOKUP_MISS,), limits={"recover_s": RECOVERY_BOUND_S}),
        Session("stalled", (response_mutants.stalled_stream(),)),
        Session("false-health", (server_mutants.dead_behind_green_health(),)),
        Session("slow-client", (_slow_client(),), client={"event_loop_lag_ms": 50}),
        Session(
            "slow",
            # No answer is wrong here, for which a fault that strikes could be blamed.
            (response_mutants.slow(), response_mutants.wrong_cached_usage(), _unplanned_fault()),
            client={"event_loop_lag_ms": 1000, "schedule_lag_ms": 1000},
            load={"ttft_p99_ms": 3000},
        ),
        Session(
            "never-offloaded",
            (_never_offloaded(),),
            server={"gpu_blocks": BLOCKS_FOR_ALL},
            prometheus=True,
        ),
        Session("two-witnesses", server_mutants.disagreements(), prometheus=True),
        Session(
            "offload-off",
            (server_mutants.hits_without_offload(),),
            server={"offload": False, "chaos": False, "audit": False},
        ),
        Session("lost-end", (_lost_end(),), contract_violating=True),
    )


def _unplanned_fault() -> Mutant:
    what = "a fault fires that is not in the plan"
    return single_mutant(
        "unplanned-fault", what, RunAction(arm_unplanned_fault), violates(faults_fired.UNPLANNED, "unplanned")
    )


def _slow_client() -> Mutant:
    kills = (inconclusive(load_client.NAME), inconclusive(performance.NAME))
    return Mutant("slow-client", "events that keep the client busy", (ExpensiveEvents(),), kills)


def _never_offloaded() -> Mutant:
    return Mutant("never-offloaded", "the device holds all blocks", (), (inconclusive(offload.NAME),))


def _lost_end() -> Mutant:
    kills = (
        violates(transfer_invariants.NEVER_ENDED["loads"]),
        violates(progress.DEADLOCK),
        violates(drained.BLOCKS_LEAKED),
        violates(drained.GAUGE, "vllm:kv_cache_usage_perc"),
    )
    return Mutant(
        "lost-end", "a fault inside the server: the completion of a KV load is never reported", (), kills
    )
