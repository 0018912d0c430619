"""Relations between the series of requests, their times and their tokens.

Read from `v1/metrics/loggers.py`, `v1/metrics/stats.py` and `v1/engine/parallel_sampling.py` of each release.
"""

from __future__ import annotations

from oracles.laws.law import (
    BY_SOURCE,
    CACHED,
    CHOICES,
    CLOCKS,
    COMPUTED_ALONE,
    DECODE,
    E2E,
    GENERATED,
    INFERENCE,
    ITERATION,
    ITL,
    LONGEST,
    MAX_TOKENS,
    PER_REQUEST,
    PREEMPTIONS,
    PREFILL,
    PROMPT,
    QUEUE,
    SUCCESS,
    TTFT,
    Term,
    always,
    at_rest,
    counts,
    one,
    sums,
)

ENDED = tuple(
    always(
        f"{name}-count",
        f"The histogram {family} has one observation of each request that ended.",
        counts(family),
        "is",
        one(SUCCESS),
    )
    for name, family in PER_REQUEST.items()
)
TIMES = (
    always(
        "inference-time-parts",
        "The inference time of requests is their prefill time and their decode time.",
        sums(INFERENCE),
        "is",
        sums(PREFILL, DECODE),
    ),
    always(
        "decode-time-exceeds-gaps",
        "The decode time of requests that ended is no more than all gaps between tokens.",
        sums(DECODE),
        "at most",
        sums(ITL),
    ),
    at_rest(
        "decode-time-gaps",
        "Once all requests have ended well, their decode time is the sum of the gaps between tokens.",
        sums(DECODE),
        "is",
        sums(ITL),
    ),
    always(
        "time-per-token-exceeds-decode",
        "The mean times per token of requests add up to no more than their decode times.",
        sums(PER_REQUEST["time-per-token"]),
        "at most",
        sums(DECODE),
    ),
    always(
        "queue-and-inference-exceed-latency",
        "The queue and inference times of requests add up to no more than their latencies.",
        sums(QUEUE, INFERENCE),
        "at most",
        sums(E2E),
        slack=CLOCKS,
    ),
    at_rest(
        "first-token-after-end",
        "Once all requests have ended well, their TTFT add up to no more than their latencies.",
        sums(TTFT),
        "at most",
        sums(E2E),
    ),
)
STEP_TOKENS = (
    "The tokens of engine steps are those generated and those of prompts, from 0.23 on those computed."
)
TOKENS = (
    always(
        "step-tokens",
        STEP_TOKENS,
        sums(ITERATION),
        "is",
        (Term(PROMPT), Term(GENERATED)),
        before=COMPUTED_ALONE,
    ),
    always(
        "step-tokens",
        STEP_TOKENS,
        sums(ITERATION),
        "is",
        (Term(BY_SOURCE, {"source": "local_compute"}), Term(GENERATED)),
        since=COMPUTED_ALONE,
    ),
    always(
        "outputs-fewer-than-tokens",
        "Each generated token belongs to an output: a first one or one after a gap.",
        one(GENERATED),
        "at most",
        counts(TTFT, ITL),
    ),
    at_rest(
        "outputs",
        "Once all requests have ended well, each generated token was an output: a first one or after a gap.",
        one(GENERATED),
        "is",
        counts(TTFT, ITL),
        unit="requests",
    ),
    always(
        "request-tokens-exceed-generated",
        "The generated tokens of requests that ended are no more than all generated tokens.",
        sums(PER_REQUEST["generated-tokens"]),
        "at most",
        one(GENERATED),
    ),
    at_rest(
        "request-generated-tokens",
        "Once all requests have ended well, their generated tokens are all that were generated.",
        sums(PER_REQUEST["generated-tokens"]),
        "is",
        one(GENERATED),
        unit="generated_tokens",
    ),
    at_rest(
        "request-prompt-tokens",
        "Once all requests have ended well, their prompt tokens are all prompt tokens.",
        sums(PER_REQUEST["prompt-tokens"]),
        "is",
        one(PROMPT),
        unit="prompt_tokens",
    ),
    at_rest(
        "request-computed-tokens",
        "Once all requests have ended well, prompt tokens computed and cached are all prompt tokens.",
        (Term(f"{PER_REQUEST['computed-tokens']}_sum"), Term(CACHED)),
        "is",
        one(PROMPT),
        unit="prompt_tokens",
    ),
    always(
        "longest-choice",
        "The longest choices of requests have no more tokens than all choices.",
        sums(LONGEST),
        "at most",
        sums(PER_REQUEST["generated-tokens"]),
    ),
    always(
        "choices-count",
        "The histograms of choices and of the longest choice have one observation of each request as sent.",
        counts(CHOICES),
        "is",
        counts(LONGEST),
    ),
    at_rest(
        "choices",
        "Once all requests have ended well, the choices requested are the requests that ended.",
        sums(CHOICES),
        "is",
        one(SUCCESS),
        unit="requests",
    ),
    always(
        "max-tokens-count",
        "The histogram of max_tokens has at most one observation of each request that ended.",
        counts(MAX_TOKENS),
        "at most",
        one(SUCCESS),
    ),
    always(
        "tokens-exceed-max-tokens",
        "Requests that ended have no more generated tokens than their max_tokens.",
        sums(PER_REQUEST["generated-tokens"]),
        "at most",
        sums(MAX_TOKENS),
    ),
    always(
        "request-preemptions-exceed",
        "The preemptions of requests that ended are no more than all preemptions.",
        sums(PER_REQUEST["preemptions"]),
        "at most",
        one(PREEMPTIONS),
    ),
    at_rest(
        "request-preemptions",
        "Once all requests have ended well, their preemptions are all preemptions.",
        sums(PER_REQUEST["preemptions"]),
        "is",
        one(PREEMPTIONS),
    ),
)
LAWS = (*ENDED, *TIMES, *TOKENS)
