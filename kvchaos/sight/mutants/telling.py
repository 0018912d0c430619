"""Mutants of what the server tells of itself: its metrics, its health, its log, its blocks."""

from __future__ import annotations

from kvchaos.sight.acts import Act, Crowd, log_a_crash
from kvchaos.sight.metrics import Answered, Sample, When
from kvchaos.sight.mutants.mutant import Mutant, broken, one
from kvchaos.sight.streams import Refused
from oracles import accounting, alive, counters, crosscheck, drained, logs, offload, outcomes, resources

LATENCY = "vllm:e2e_request_latency_seconds"
FIRST_TOKENS = "vllm:time_to_first_token_seconds"
HITS = "vllm:external_prefix_cache_hits_total"
MUCH = 1e6
CROWD = 60


def counter_steps_back() -> Mutant:
    # A part of its value may still be more than it was at the scrape before.
    nothing = Sample(f"{LATENCY}_sum", lambda _: 0.0, when=When.ONCE)
    what = "a counter is 0, in one scrape"
    return one("counter-steps-back", what, nothing, broken(counters.DECREASED, f"{LATENCY}_sum"))


def nan_sample() -> Mutant:
    nan = Sample(f"{LATENCY}_sum", lambda _: float("nan"), when=When.ONCE)
    kill = broken(counters.NOT_A_NUMBER, f"{LATENCY}_sum")
    return one("nan-sample", "a counter is no number, in one scrape", nan, kill)


def negative_sample() -> Mutant:
    negative = Sample(f"{LATENCY}_sum", lambda _: -1.0, when=When.ONCE)
    kills = (broken(counters.NEGATIVE, f"{LATENCY}_sum"), broken(counters.DECREASED, f"{LATENCY}_sum"))
    return one("negative-sample", "a counter is below zero, in one scrape", negative, *kills)


def buckets_not_cumulative() -> Mutant:
    fuller = Sample(f"{LATENCY}_bucket", lambda value: value + MUCH, {"le": "0.3"})
    what = "a histogram's bucket holds more than the next one"
    return one("buckets-not-cumulative", what, fuller, broken(counters.NOT_CUMULATIVE, f"{LATENCY}_bucket"))


def count_beside_its_buckets() -> Mutant:
    more = Sample(f"{LATENCY}_count", lambda value: value + 1)
    what = "a histogram's count is not what its last bucket holds"
    return one("count-beside-its-buckets", what, more, broken(counters.COUNT_DIFFERS, f"{LATENCY}_count"))


def prompt_tokens_overcounted() -> Mutant:
    more = Sample("vllm:prompt_tokens_total", lambda value: value + 32)
    what = "the server counts 32 prompt tokens too many"
    kills = (broken(accounting.SOURCES_SUM), broken(crosscheck.PROMPT_TOKENS))
    return one("prompt-tokens-overcounted", what, more, *kills)


def answer_overcounted() -> Mutant:
    more = Sample("vllm:generation_tokens_total", lambda value: value + 1)
    what = "the server counts a token that it never sent"
    return one("answer-overcounted", what, more, broken(crosscheck.GENERATED_TOKENS))


def finish_overcounted() -> Mutant:
    more = Sample("vllm:request_success_total", lambda value: value + 1, {"finished_reason": "length"})
    what = "the server counts an answer that it never gave"
    return one("finish-overcounted", what, more, broken(crosscheck.FINISHED))


def hits_above_lookups() -> Mutant:
    more = Sample(HITS, lambda value: value + MUCH)
    what = "more tokens are found in the tier than were looked up"
    return one("hits-above-lookups", what, more, broken(accounting.HITS_EXCEED))


def first_token_overcounted() -> Mutant:
    """In its last bucket as well, so that the histogram itself is in order."""
    last = Sample(f"{FIRST_TOKENS}_bucket", lambda value: value + 1, {"le": "+Inf"})
    count = Sample(f"{FIRST_TOKENS}_count", lambda value: value + 1)
    what = "the server counts a first token that it never sent"
    return Mutant("first-token-overcounted", what, (last, count), (broken(crosscheck.FIRST_TOKEN_COUNT),))


def hits_without_offload() -> Mutant:
    what = "a server without offloading tells of hits in the tier"
    kills = (broken(offload.USED_WHILE_OFF), broken(accounting.HITS_EXCEED))
    return Mutant("hits-without-offload", what, (Sample(HITS, lambda value: value + 32),), kills)


def running_for_ever() -> Mutant:
    one_more = Sample("vllm:num_requests_running", lambda _: 1.0, when=When.END)
    what = "one request runs on for ever, by the gauge"
    kills = (broken(drained.GAUGE, "vllm:num_requests_running"), broken(drained.NOT_DRAINED))
    return one("running-for-ever", what, one_more, *kills)


def blocks_in_use() -> Mutant:
    some = Sample("vllm:kv_cache_usage_perc", lambda _: 0.05, when=When.END)
    what = "blocks are in use for ever, by the gauge"
    return one("blocks-in-use", what, some, broken(drained.GAUGE, "vllm:kv_cache_usage_perc"))


def reset_refused() -> Mutant:
    refused = Answered("/reset_prefix_cache", 200, b'{"success": false}')
    what = "the server says that blocks are still held"
    return one("reset-refused", what, refused, broken(drained.BLOCKS_LEAKED))


def sockets_kept() -> Mutant:
    what = f"the server keeps {CROWD} connections for good"
    return one("sockets-kept", what, Crowd(CROWD), broken(resources.RULE_OF["open sockets"]))


def crash_in_the_log() -> Mutant:
    what = "the log tells that the engine has died"
    return one("crash-in-the-log", what, Act(log_a_crash), broken(logs.ENGINE_DIED))


def sick_by_health() -> Mutant:
    sick = Answered("/health", 503, b"")
    what = "/health answers 503 while all else goes well"
    return one("sick-by-health", what, sick, broken(alive.FALSE_SICK))


def dead_behind_green_health() -> Mutant:
    what = "the last canary is refused while /health says 200"
    kills = (broken(alive.FALSE_HEALTHY, "canary-3"), broken(outcomes.FAILED, "canary-3"))
    return one("dead-behind-green-health", what, Refused("canary-3", 503), *kills)
