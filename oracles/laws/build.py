"""How the laws of relations between series are written down, and the names of the series."""

from __future__ import annotations

from typing import Literal

from oracles.findings import METRICS, REQUESTS, Rule
from oracles.laws.law import EVER, FLOATS, Law, Release, Term, Unit

SUCCESS = "vllm:request_success_total"
PROMPT = "vllm:prompt_tokens_total"
GENERATED = "vllm:generation_tokens_total"
BY_SOURCE = "vllm:prompt_tokens_by_source_total"
CACHED = "vllm:prompt_tokens_cached_total"
BY_TIER = "vllm:prompt_tokens_cached_by_source_total"
LOCAL_HITS = "vllm:prefix_cache_hits_total"
EXTERNAL_HITS = "vllm:external_prefix_cache_hits_total"
PREEMPTIONS = "vllm:num_preemptions_total"
TTFT = "vllm:time_to_first_token_seconds"
ITL = "vllm:inter_token_latency_seconds"
E2E = "vllm:e2e_request_latency_seconds"
ITERATION = "vllm:iteration_tokens_total"
PER_REQUEST = {
    "e2e-latency": E2E,
    "queue-time": "vllm:request_queue_time_seconds",
    "prefill-time": "vllm:request_prefill_time_seconds",
    "decode-time": "vllm:request_decode_time_seconds",
    "inference-time": "vllm:request_inference_time_seconds",
    "time-per-token": "vllm:request_time_per_output_token_seconds",
    "computed-tokens": "vllm:request_prefill_kv_computed_tokens",
    "prompt-tokens": "vllm:request_prompt_tokens",
    "generated-tokens": "vllm:request_generation_tokens",
    "preemptions": "vllm:request_num_preemptions",
}
"""Histograms with an observation of each request that ended."""
QUEUE, PREFILL, DECODE, INFERENCE = (
    PER_REQUEST[name] for name in ("queue-time", "prefill-time", "decode-time", "inference-time")
)
LONGEST = "vllm:request_max_num_generation_tokens"
CHOICES = "vllm:request_params_n"
MAX_TOKENS = "vllm:request_params_max_tokens"
COMPUTED_ALONE: Release = (0, 23)
"""From here on the tokens of an engine step are those computed, not all of the prompt."""
FLAT: Release = (0, 24)
"""From here on transfers have names of their own for each direction."""
ONE_LOOKUP: Release = (0, 32)
"""From here on a lookup is counted when its request is admitted, and not each time that it is tried."""
CLOCKS = 1e-3
"""Two clocks of one machine: latency is of the wall clock, the parts are of the monotonic one."""
NOT_SETTLED = "there is no scrape of the same server after the last answer, or a request did not end well"


def always(
    name: str,
    text: str,
    left: tuple[Term, ...],
    sense: Literal["is", "at most"],
    right: tuple[Term, ...],
    since: Release = (0, 0),
    before: Release = EVER,
    slack: float = FLOATS,
) -> Law:
    rule = Rule(f"accounting/{name}", text, "vLLM source", (METRICS,), "never while the server counts")
    return Law(rule, left, sense, right, False, since, before, slack=slack)


def at_rest(
    name: str,
    text: str,
    left: tuple[Term, ...],
    sense: Literal["is", "at most"],
    right: tuple[Term, ...],
    since: Release = (0, 0),
    before: Release = EVER,
    unit: Unit | None = None,
) -> Law:
    rule = Rule(f"accounting/{name}", text, "vLLM source", (METRICS, REQUESTS), NOT_SETTLED)
    return Law(rule, left, sense, right, True, since, before, unit)


def sums(*families: str) -> tuple[Term, ...]:
    return tuple(Term(f"{family}_sum") for family in families)


def counts(*families: str) -> tuple[Term, ...]:
    return tuple(Term(f"{family}_count") for family in families)


def one(metric: str, **labels: str) -> tuple[Term, ...]:
    return (Term(metric, labels),)
