"""Relations between the series of caches, transfers, queues and the HTTP server.

Read from `v1/metrics/loggers.py` and the metrics of the offloading connector of each release.
"""

from __future__ import annotations

from oracles.laws.law import (
    BY_TIER,
    EXTERNAL_HITS,
    FLAT,
    LOCAL_HITS,
    ONE_LOOKUP,
    PROMPT,
    Term,
    always,
    at_rest,
    counts,
    one,
    sums,
)

TIERS = (
    always(
        "device-tier-hits",
        "The cached tokens of the device are the hits of the prefix cache.",
        one(BY_TIER, source="device"),
        "is",
        one(LOCAL_HITS),
    ),
    always(
        "other-tier-hits",
        "The cached tokens of the other tiers are the hits of the external prefix cache.",
        (Term(BY_TIER, {}, {"source": "device"}),),
        "is",
        one(EXTERNAL_HITS),
    ),
)
LOOKUPS = (
    at_rest(
        "local-lookups-exceed-prompts",
        "Once all requests have ended well, no more tokens were looked up on the device than prompts have.",
        one("vllm:prefix_cache_queries_total"),
        "at most",
        one(PROMPT),
        since=ONE_LOOKUP,
        unit="prompt_tokens",
    ),
)
DIRECTIONS = {"load": "CPU_to_GPU", "store": "GPU_to_CPU"}
_BYTES, _SIZE, _TIME = (
    "vllm:kv_offload_total_bytes_total",
    "vllm:kv_offload_size",
    "vllm:kv_offload_total_time_total",
)
TRANSFERS = (
    *(
        always(
            f"{verb}-sizes",
            f"The sizes of all {verb}s add up to the bytes of {verb}s.",
            (Term(f"{_SIZE}_sum", {"transfer_type": direction}),),
            "is",
            one(_BYTES, transfer_type=direction),
        )
        for verb, direction in DIRECTIONS.items()
    ),
    *(
        always(
            f"{verb}-{what}-by-both-names",
            f"The {what} of {verb}s is the same by its earlier name and by its present one.",
            (Term(new, {}),),
            "is",
            one(old, transfer_type=direction),
            since=FLAT,
        )
        for verb, direction in DIRECTIONS.items()
        for what, new, old in (
            ("bytes", f"vllm:kv_offload_{verb}_bytes_total", _BYTES),
            ("time", f"vllm:kv_offload_{verb}_time_total", _TIME),
            ("size", f"vllm:kv_offload_{verb}_size_sum", f"{_SIZE}_sum"),
            ("number", f"vllm:kv_offload_{verb}_size_count", f"{_SIZE}_count"),
        )
    ),
)
ALLOCATIONS = (
    always(
        "stores-exceed-allocations",
        "No more stores are done than had room allocated for them in the tier.",
        (Term(f"{_SIZE}_count", {"transfer_type": "GPU_to_CPU"}),),
        "at most",
        counts("vllm:kv_offload_cpu_allocation_size"),
    ),
)
WAITING = (
    always(
        "waiting-by-reason",
        "The waiting requests by reason add up to the waiting requests.",
        one("vllm:num_requests_waiting_by_reason"),
        "is",
        one("vllm:num_requests_waiting"),
    ),
)
HTTP = (
    always(
        "http-durations",
        "The histogram of HTTP durations has one observation of each HTTP request that ended.",
        counts("http_request_duration_seconds"),
        "is",
        one("http_requests_total"),
    ),
    always(
        "http-durations-fine",
        "The fine histogram of HTTP durations has one observation of each HTTP request that ended.",
        counts("http_request_duration_highr_seconds"),
        "is",
        one("http_requests_total"),
    ),
    always(
        "http-duration-sums",
        "Both histograms of HTTP durations have the same sum.",
        sums("http_request_duration_seconds"),
        "is",
        sums("http_request_duration_highr_seconds"),
    ),
    always(
        "http-request-sizes",
        "The summary of request sizes has one observation of each HTTP request that ended.",
        counts("http_request_size_bytes"),
        "is",
        one("http_requests_total"),
    ),
    always(
        "http-response-sizes",
        "The summary of response sizes has one observation of each HTTP request that ended.",
        counts("http_response_size_bytes"),
        "is",
        one("http_requests_total"),
    ),
)
LAWS = (*TIERS, *LOOKUPS, *TRANSFERS, *ALLOCATIONS, *WAITING, *HTTP)
