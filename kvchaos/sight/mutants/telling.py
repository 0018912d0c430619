"""Mutants of what the server tells of itself: its metrics, its health, its log, its blocks."""

from __future__ import annotations

from kvchaos.sight.acts import Act, Crowd, log_a_crash
from kvchaos.sight.metrics import Answered, Sample, When
from kvchaos.sight.mutants.mutant import Found, Mutant, one
from kvchaos.sight.streams import Refused
from oracles import accounting, offload

LATENCY = "vllm:e2e_request_latency_seconds"
FIRST_TOKENS = "vllm:time_to_first_token_seconds"
HITS = "vllm:external_prefix_cache_hits_total"
MUCH = 1e6
CROWD = 60


def counter_steps_back() -> Mutant:
    half = Sample(f"{LATENCY}_sum", lambda value: value / 2, when=When.ONCE)
    what = "a counter is half of what it was, in one scrape"
    return one("counter-steps-back", what, half, counters=f"{LATENCY}_sum.* shrank")


def nan_sample() -> Mutant:
    nan = Sample(f"{LATENCY}_sum", lambda _: float("nan"), when=When.ONCE)
    words = f"{LATENCY}_sum.* is not a number"
    return one("nan-sample", "a counter is no number, in one scrape", nan, counters=words)


def negative_sample() -> Mutant:
    negative = Sample(f"{LATENCY}_sum", lambda _: -1.0, when=When.ONCE)
    words = f"{LATENCY}_sum.* is negative"
    return one("negative-sample", "a counter is below zero, in one scrape", negative, counters=words)


def buckets_not_cumulative() -> Mutant:
    fuller = Sample(f"{LATENCY}_bucket", lambda value: value + MUCH, {"le": "0.3"})
    what = "a histogram's bucket holds more than the next one"
    words = f"{LATENCY}_bucket.* is smaller than the bucket below it"
    return one("buckets-not-cumulative", what, fuller, counters=words)


def count_beside_its_buckets() -> Mutant:
    more = Sample(f"{LATENCY}_count", lambda value: value + 1)
    what = "a histogram's count is not what its last bucket holds"
    words = f"{LATENCY}_count.* differs from its \\+Inf bucket"
    return one("count-beside-its-buckets", what, more, counters=words)


def prompt_tokens_overcounted() -> Mutant:
    more = Sample("vllm:prompt_tokens_total", lambda value: value + 32)
    what = "the server counts 32 prompt tokens too many"
    words = "prompt tokens by source less .* are not the"
    return one("prompt-tokens-overcounted", what, more, accounting=words)


def answer_overcounted() -> Mutant:
    more = Sample("vllm:generation_tokens_total", lambda value: value + 1)
    what = "the server counts a token that it never sent"
    return one("answer-overcounted", what, more, accounting="generated tokens, the server")


def finish_overcounted() -> Mutant:
    more = Sample("vllm:request_success_total", lambda value: value + 1, {"finished_reason": "length"})
    what = "the server counts an answer that it never gave"
    return one("finish-overcounted", what, more, accounting="requests answered, the server")


def hits_above_lookups() -> Mutant:
    more = Sample(HITS, lambda value: value + MUCH)
    what = "more tokens are found in the tier than were looked up"
    return one("hits-above-lookups", what, more, accounting="hits of .* tokens asked for")


def first_token_overcounted() -> Mutant:
    """In its last bucket as well, so that the histogram itself is in order."""
    last = Sample(f"{FIRST_TOKENS}_bucket", lambda value: value + 1, {"le": "+Inf"})
    count = Sample(f"{FIRST_TOKENS}_count", lambda value: value + 1)
    found = Found("requests with a first token, the server")
    what = "the server counts a first token that it never sent"
    return Mutant("first-token-overcounted", what, (last, count), {accounting.NAME: found})


def hits_without_offload() -> Mutant:
    what = "a server without offloading tells of hits in the tier"
    found = {
        offload.NAME: Found("offload is off, yet"),
        accounting.NAME: Found("hits of .* tokens asked for"),
    }
    return Mutant("hits-without-offload", what, (Sample(HITS, lambda value: value + 32),), found)


def running_for_ever() -> Mutant:
    one_more = Sample("vllm:num_requests_running", lambda _: 1.0, when=When.END)
    what = "one request runs on for ever, by the gauge"
    return one("running-for-ever", what, one_more, drained="num_requests_running is 1 after draining")


def blocks_in_use() -> Mutant:
    some = Sample("vllm:kv_cache_usage_perc", lambda _: 0.05, when=When.END)
    what = "blocks are in use for ever, by the gauge"
    return one("blocks-in-use", what, some, drained="kv_cache_usage_perc is 0.05 after draining")


def reset_refused() -> Mutant:
    refused = Answered("/reset_prefix_cache", 200, b'{"success": false}')
    what = "the server says that blocks are still held"
    return one("reset-refused", what, refused, drained="the leak probe found blocks still held")


def sockets_kept() -> Mutant:
    what = f"the server keeps {CROWD} connections for good"
    return one("sockets-kept", what, Crowd(CROWD), resources="open sockets after phase golden")


def crash_in_the_log() -> Mutant:
    what = "the log tells that the engine has died"
    return one("crash-in-the-log", what, Act(log_a_crash), logs="the engine loop died")


def sick_by_health() -> Mutant:
    sick = Answered("/health", 503, b"")
    what = "/health answers 503 while all else goes well"
    return one("sick-by-health", what, sick, server_alive="false sick")


def dead_behind_green_health() -> Mutant:
    what = "the last canary is refused while /health says 200"
    words = {"server_alive": "false healthy", "outcomes": "canary-3 .* status 503"}
    return one("dead-behind-green-health", what, Refused("canary-3", 503), **words)
