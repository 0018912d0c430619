"""Mutants of what the server reports about itself: metrics, those for Prometheus alone, health, log."""

from __future__ import annotations

from kvchaos.selftest.mutants.mutant import Mutant, single_mutant, violates
from kvchaos.selftest.server_mutations import (
    ConnectionLeak,
    FixedResponse,
    MetricWithheld,
    MutationTiming,
    PrometheusOnly,
    RunAction,
    SampleMutation,
    log_engine_crash,
)
from kvchaos.selftest.stream_mutations import RequestRefused
from oracles import (
    accounting,
    alive,
    counters,
    drained,
    logs,
    metrics_crosscheck,
    offload,
    outcomes,
    resources,
    token_crosscheck,
)

LATENCY = "vllm:e2e_request_latency_seconds"
FIRST_TOKENS = "vllm:time_to_first_token_seconds"
HITS = "vllm:external_prefix_cache_hits_total"
HUGE = 1e6
LEAKED_CONNECTIONS = 60


def counter_steps_back() -> Mutant:
    """Mutant: a counter is 0 in one scrape."""
    # A part of its value may still be more than it was at the scrape before.
    nothing = SampleMutation(f"{LATENCY}_sum", lambda _: 0.0, when=MutationTiming.ONE_SCRAPE)
    what = "a counter is 0, in one scrape"
    return single_mutant("counter-steps-back", what, nothing, violates(counters.DECREASED, f"{LATENCY}_sum"))


def nan_sample() -> Mutant:
    """Mutant: a counter is NaN in one scrape."""
    nan = SampleMutation(f"{LATENCY}_sum", lambda _: float("nan"), when=MutationTiming.ONE_SCRAPE)
    kill = violates(counters.NOT_A_NUMBER, f"{LATENCY}_sum")
    return single_mutant("nan-sample", "a counter is not a number in one scrape", nan, kill)


def negative_sample() -> Mutant:
    """Mutant: a counter is negative in one scrape."""
    negative = SampleMutation(f"{LATENCY}_sum", lambda _: -1.0, when=MutationTiming.ONE_SCRAPE)
    kills = (violates(counters.NEGATIVE, f"{LATENCY}_sum"), violates(counters.DECREASED, f"{LATENCY}_sum"))
    return single_mutant("negative-sample", "a counter is below zero, in one scrape", negative, *kills)


def buckets_not_cumulative() -> Mutant:
    """Mutant: a bucket of a histogram exceeds the next one."""
    fuller = SampleMutation(f"{LATENCY}_bucket", lambda value: value + HUGE, {"le": "0.3"})
    what = "a bucket of a histogram is above the next one"
    return single_mutant(
        "buckets-not-cumulative", what, fuller, violates(counters.NOT_CUMULATIVE, f"{LATENCY}_bucket")
    )


def count_beside_its_buckets() -> Mutant:
    """Mutant: the count of a histogram differs from its last bucket."""
    more = SampleMutation(f"{LATENCY}_count", lambda value: value + 1)
    what = "the count of a histogram differs from its last bucket"
    return single_mutant(
        "count-beside-its-buckets", what, more, violates(counters.COUNT_DIFFERS, f"{LATENCY}_count")
    )


def prompt_tokens_overcounted() -> Mutant:
    """Mutant: the server counts 32 prompt tokens too many."""
    more = SampleMutation("vllm:prompt_tokens_total", lambda value: value + 32)
    what = "the server counts 32 prompt tokens too many"
    kills = (violates(accounting.SOURCES_SUM), violates(token_crosscheck.PROMPT_TOKENS))
    return single_mutant("prompt-tokens-overcounted", what, more, *kills)


def answer_overcounted() -> Mutant:
    """Mutant: the server counts a generated token that it never sent."""
    more = SampleMutation("vllm:generation_tokens_total", lambda value: value + 1)
    what = "the server counts a token that it never sent"
    return single_mutant("answer-overcounted", what, more, violates(token_crosscheck.GENERATED_TOKENS))


def finish_overcounted() -> Mutant:
    """Mutant: the server counts a completion that it never sent."""
    more = SampleMutation(
        "vllm:request_success_total", lambda value: value + 1, {"finished_reason": "length"}
    )
    what = "the server counts a completion that it never sent"
    return single_mutant("finish-overcounted", what, more, violates(token_crosscheck.FINISHED))


def hits_above_lookups() -> Mutant:
    """Mutant: the tier has more hits than lookups."""
    more = SampleMutation(HITS, lambda value: value + HUGE)
    what = "more tokens are found in the tier than were looked up"
    return single_mutant("hits-above-lookups", what, more, violates(accounting.HITS_EXCEED))


def first_token_overcounted() -> Mutant:
    """Mutant: the server counts one first token too many, also in the last bucket."""
    last = SampleMutation(f"{FIRST_TOKENS}_bucket", lambda value: value + 1, {"le": "+Inf"})
    count = SampleMutation(f"{FIRST_TOKENS}_count", lambda value: value + 1)
    what = "the server counts a first token that it never sent"
    return Mutant(
        "first-token-overcounted", what, (last, count), (violates(token_crosscheck.FIRST_TOKEN_COUNT),)
    )


def hits_without_offload() -> Mutant:
    """Mutant: a server without offloading counts hits in the tier."""
    what = "a server without offloading counts hits in the tier"
    kills = (violates(offload.USED_WHILE_OFF), violates(accounting.HITS_EXCEED))
    return Mutant("hits-without-offload", what, (SampleMutation(HITS, lambda value: value + 32),), kills)


def running_for_ever() -> Mutant:
    """Mutant: the gauge of running requests stays at 1 after the load."""
    one_more = SampleMutation("vllm:num_requests_running", lambda _: 1.0, when=MutationTiming.AFTER_LOAD)
    what = "by the gauge, one request never ends"
    kills = (violates(drained.GAUGE, "vllm:num_requests_running"), violates(drained.NOT_DRAINED))
    return single_mutant("running-for-ever", what, one_more, *kills)


def blocks_in_use() -> Mutant:
    """Mutant: the gauge of cache usage stays above 0 after the load."""
    some = SampleMutation("vllm:kv_cache_usage_perc", lambda _: 0.05, when=MutationTiming.AFTER_LOAD)
    what = "by the gauge, blocks stay in use"
    return single_mutant("blocks-in-use", what, some, violates(drained.GAUGE, "vllm:kv_cache_usage_perc"))


def reset_refused() -> Mutant:
    """Mutant: the leak probe reports blocks in use."""
    refused = FixedResponse("/reset_prefix_cache", 200, b'{"success": false}')
    what = "the server reports that blocks are still in use"
    return single_mutant("reset-refused", what, refused, violates(drained.BLOCKS_LEAKED))


def sockets_kept() -> Mutant:
    """Mutant: connections to the server stay open until the end."""
    what = f"the server keeps {LEAKED_CONNECTIONS} connections open until the end"
    return single_mutant(
        "sockets-kept", what, ConnectionLeak(LEAKED_CONNECTIONS), violates(resources.RULE_OF["open sockets"])
    )


def crash_in_the_log() -> Mutant:
    """Mutant: the log has the line of a dead engine."""
    what = "the log has the line of a dead engine"
    return single_mutant("crash-in-the-log", what, RunAction(log_engine_crash), violates(logs.ENGINE_DIED))


def sick_by_health() -> Mutant:
    """Mutant: `/health` returns 503 while requests succeed."""
    sick = FixedResponse("/health", 503, b"")
    what = "/health returns 503 while requests succeed"
    return single_mutant("sick-by-health", what, sick, violates(alive.FALSE_SICK))


def dead_behind_green_health() -> Mutant:
    """Mutant: the last probe is refused while `/health` returns 200."""
    what = "the last probe is refused while /health returns 200"
    kills = (violates(alive.FALSE_HEALTHY, "probe-3"), violates(outcomes.FAILED, "probe-3"))
    return single_mutant("dead-behind-green-health", what, RequestRefused("probe-3", 503), *kills)


GENERATED = "vllm:generation_tokens_total"
RUNNING = "vllm:num_requests_running"
PREEMPTIONS = "vllm:num_preemptions_total"
STARTED = "process_start_time_seconds"


def disagreements() -> tuple[Mutant, ...]:
    """Mutants of the scrapes of Prometheus alone, one for each rule of `metrics-crosscheck`."""
    return (_counter_too_high(), _request_runs_at_rest(), _metric_missing(), _other_start_time())


def _counter_too_high() -> Mutant:
    more = PrometheusOnly(SampleMutation(GENERATED, lambda value: value + HUGE))
    what = "Prometheus alone scrapes more generated tokens"
    return single_mutant("prometheus-reports-more", what, more, violates(metrics_crosscheck.VALUE, GENERATED))


def _request_runs_at_rest() -> Mutant:
    running = PrometheusOnly(SampleMutation(RUNNING, lambda _: 1.0, when=MutationTiming.AFTER_LOAD))
    what = "Prometheus alone scrapes a running request after the last one ended"
    return single_mutant(
        "prometheus-reports-a-foreign-series", what, running, violates(metrics_crosscheck.VALUE, RUNNING)
    )


def _metric_missing() -> Mutant:
    what = "the preemption counter is missing from the scrapes of Prometheus"
    return single_mutant(
        "prometheus-reports-less",
        what,
        MetricWithheld(PREEMPTIONS),
        violates(metrics_crosscheck.MISSING, PREEMPTIONS),
    )


def _other_start_time() -> Mutant:
    later = PrometheusOnly(SampleMutation(STARTED, lambda value: value + 1, when=MutationTiming.FIRST_SCRAPE))
    what = "Prometheus scrapes another start time of the server, once"
    return single_mutant(
        "prometheus-reports-another-start", what, later, violates(metrics_crosscheck.INCARNATION)
    )
