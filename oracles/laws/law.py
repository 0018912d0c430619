"""A law about the server's series: a relation between sums of them, as data; and how laws are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from history.columnar import Flags, Values
from history.metrics import MetricLog
from oracles.findings import METRICS, REQUESTS, Rule
from oracles.views.windows import Unit

Release = tuple[int, int]
EVER: Release = (99, 0)
FLOATS = 1e-6


@dataclass(frozen=True, slots=True)
class Term:
    """The sum over the series of a metric that carry these labels, but for those that `without` names."""

    metric: str
    labels: dict[str, str] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)

    def at_each(self, log: MetricLog) -> tuple[Values, Flags]:
        """The sum at each scrape, and whether there is one."""
        sums, known = np.zeros(len(log)), np.zeros(len(log), np.bool_)
        for series in log.find(self.metric, **self.labels):
            if any(series.labels.get(name) == value for name, value in self.without.items()):
                continue
            values, there = series.at_each(len(log))
            sums += np.where(there, values, 0.0)
            known |= there
        return sums, known


@dataclass(frozen=True, slots=True)
class Law:
    """A relation between two sums of series that one process exports."""

    rule: Rule
    left: tuple[Term, ...]
    sense: Literal["is", "at most"]
    right: tuple[Term, ...]
    """Nothing stands for 0."""
    at_rest: bool = False
    """Holds where all requests ended, and ended well; else at each scrape."""
    since: Release = (0, 0)
    before: Release = EVER
    unit: Unit | None = None
    """Unit of a law at rest: requests that did not end well may have added this to one side only. Without a
    unit, the law is not judged if there are such requests."""
    slack: float = FLOATS
    """Allowed error of sums of times, as a share of the larger side: floats are added in another order."""

    def binds(self, release: Release) -> bool:
        """Whether the law holds for a release: `since` up to, not including, `before`."""
        return self.since <= release < self.before

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics on both sides."""
        return tuple(term.metric for term in (*self.left, *self.right))

    def breaks(self, left: Values, right: Values, spare: float = 0.0) -> Flags:
        """Whether each pair of values of the sides breaks the law; `spare` and the slack are allowed."""
        allowed = spare + self.slack * np.maximum(np.maximum(np.abs(left), np.abs(right)), 1.0)
        over = left - right > allowed
        return over if self.sense == "at most" else over | (right - left > allowed)

    def holds(self, left: float, right: float, spare: float = 0.0) -> bool:
        """The same of one pair of values."""
        return not bool(self.breaks(np.array([left]), np.array([right]), spare)[0])


def sides(log: MetricLog, law: Law) -> tuple[Values, Values, Flags]:
    """Both sides at each scrape, and whether all their series are there."""
    left, known = _sum(log, law.left)
    right, others = _sum(log, law.right)
    return left, right, known & others


def _sum(log: MetricLog, terms: Iterable[Term]) -> tuple[Values, Flags]:
    total, known = np.zeros(len(log)), np.ones(len(log), np.bool_)
    for term in terms:
        values, there = term.at_each(log)
        total += values
        known &= there
    return total, known


def broken_at(log: MetricLog, law: Law, settled: Iterable[int]) -> list[tuple[int, float, float]]:
    """The first scrapes of stretches in which a law is broken, with its two sides.

    Only at settled scrapes, and at scrapes with the same values of these series as the scrape before. While
    the server counts, a scrape may read one series before a step and another after it.
    """
    left, right, known = sides(log, law)
    broken = law.breaks(left, right)
    looked = known & _still(log, law)
    looked[list(settled)] = known[list(settled)]
    indexes = np.flatnonzero(looked)
    wrong = broken[indexes]
    begins = indexes[wrong & ~np.append(False, wrong[:-1])]
    return [(int(at), float(left[at]), float(right[at])) for at in begins.tolist()]


def _still(log: MetricLog, law: Law) -> Flags:
    still = np.ones(len(log), np.bool_)
    still[:1] = False
    for metric in law.metrics:
        for series in log.find(metric):
            still[series.at] = False
    return still


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
"""Release from which on the tokens of an engine step are those computed, not all of the prompt."""
FLAT: Release = (0, 24)
"""Release from which on transfers have names of their own for each direction."""
ONE_LOOKUP: Release = (0, 32)
"""Release from which on a lookup is counted when its request is admitted, not each time that it is tried."""
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
    """A law that holds at every scrape in which the server does not count at that moment."""
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
    """A law that holds while no request is in flight."""
    rule = Rule(f"accounting/{name}", text, "vLLM source", (METRICS, REQUESTS), NOT_SETTLED)
    return Law(rule, left, sense, right, True, since, before, unit)


def sums(*families: str) -> tuple[Term, ...]:
    """The sums of histogram families, as terms of one side."""
    return tuple(Term(f"{family}_sum") for family in families)


def counts(*families: str) -> tuple[Term, ...]:
    """The counts of histogram families, as terms of one side."""
    return tuple(Term(f"{family}_count") for family in families)


def one(metric: str, **labels: str) -> tuple[Term, ...]:
    """A metric as the only term of a side, with these labels."""
    return (Term(metric, labels),)
