"""Each metric family that a vLLM server exports: which laws bind it, or why none of its own does.

The laws of any counter, gauge and histogram (`oracles.counters`, `oracles.laws.generic`) bind all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from history.metrics import MetricLog
from oracles.laws import client_laws, generic, transfers
from oracles.laws.relations import LAWS

PARTS = ("_bucket", "_count", "_sum")
"""What a histogram's series end in after its name."""
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "vllm:prompt_tokens_total": ("accounting/prompt-tokens", "accounting/prompt-tokens-by-source"),
    "vllm:prompt_tokens_by_source_total": (
        "accounting/prompt-tokens-by-source",
        "accounting/source-out-of-range",
    ),
    "vllm:prompt_tokens_cached_total": ("accounting/cached-exceeds-prompt", "accounting/usage-cached-tokens"),
    "vllm:prompt_tokens_cached_by_source_total": ("accounting/cached-tokens-by-tier",),
    "vllm:prompt_tokens_recomputed_total": ("accounting/prompt-tokens-by-source",),
    "vllm:generation_tokens_total": ("accounting/generated-tokens",),
    "vllm:request_success_total": ("accounting/finished-requests", client_laws.BY_REASON.id),
    "vllm:time_to_first_token_seconds": ("accounting/first-tokens", client_laws.FIRST_TOKEN_TIME.id),
    "vllm:e2e_request_latency_seconds": (client_laws.LATENCY.id,),
    "vllm:request_params_max_tokens": (client_laws.MAX_TOKENS_SUM.id,),
    "vllm:request_params_n": (client_laws.SENT.id, client_laws.CHOICES_SUM.id),
    "vllm:prefix_cache_queries_total": ("accounting/hits-exceed-queries",),
    "vllm:prefix_cache_hits_total": ("accounting/hits-exceed-queries", "accounting/new-prompt-cached"),
    "vllm:external_prefix_cache_queries_total": (
        "accounting/hits-exceed-queries",
        "accounting/lookups-exceed-prompts",
    ),
    "vllm:external_prefix_cache_hits_total": (
        "accounting/hits-exceed-queries",
        "accounting/new-prompt-cached",
    ),
    "vllm:kv_offload_total_bytes_total": (
        "accounting/claimed-exceeds-loaded",
        transfers.WHOLE_BLOCKS.id,
        transfers.MORE_BYTES.id,
    ),
    "vllm:kv_offload_size": (transfers.MORE_COPIES.id,),
    "http_requests_total": (client_laws.HTTP_ANSWERS.id,),
    "process_start_time_seconds": ("counters/unexplained-restart",),
}
"""Laws that stand in other files, by family."""
REASONS: Mapping[str, str] = {
    "vllm:num_preemptions_total": "before 0.30 nothing else counts preemptions, and no client sees them",
    "vllm:kv_offload_total_time_total": "before 0.24 nothing else measures the copies",
    "vllm:kv_offload_allocation_failure_total": "what is refused leaves no other trace outside the server",
    "vllm:kv_offload_stores_skipped_total": "what is skipped leaves no other trace outside the server",
    "vllm:kv_offload_lookup_sync_delay_seconds": "nothing else measures a lookup",
    "vllm:kv_offload_lookup_async_delay_seconds": "nothing else measures a lookup",
    "vllm:kv_offload_config_info": "it names settings",
    "vllm:corrupted_requests_total": "exported only where the server looks for NaN",
    "vllm:kv_block_lifetime_seconds": "exported only with sampled cache metrics, which no scenario asks for",
    "vllm:kv_block_idle_before_evict_seconds": "exported only with sampled cache metrics",
    "vllm:kv_block_reuse_gap_seconds": "exported only with sampled cache metrics",
    "vllm:watermark_requests_total": "exported only with a watermark, which no scenario asks for",
    "vllm:lora_requests_info": "its value is a time, and no scenario has adapters",
    "process_cpu_seconds_total": "the resources oracle reads the kernel's own account of the process",
    "python_gc_objects_collected_total": "it belongs to Python's garbage collector",
    "python_gc_objects_uncollectable_total": "it belongs to Python's garbage collector",
    "python_gc_collections_total": "it belongs to Python's garbage collector",
}
"""Why a family has no law of its own, or only in some releases."""


def family(series: str) -> str:
    """The family of a series, by name: of a histogram without the part."""
    return next((series.removesuffix(part) for part in PARTS if series.endswith(part)), series)


def _bound() -> Mapping[str, tuple[str, ...]]:
    rules: dict[str, dict[str, None]] = defaultdict(dict)
    for law in LAWS:
        for metric in law.metrics:
            rules[family(metric)][law.rule.id] = None
    for gauge in generic.GAUGES:
        rules[gauge][generic.GAUGE_RANGE.id] = None
    for counter in generic.UNUSED_COUNTERS:
        rules[counter][generic.UNUSED.id] = None
    for name, ids in ELSEWHERE.items():
        rules[name] |= dict.fromkeys(ids)
    return {name: tuple(ids) for name, ids in sorted(rules.items())}


BOUND = _bound()
"""Ids of the rules that bind a family, by its name."""


def without_entry(names: Iterable[str]) -> list[str]:
    """Which of these series belong to a family that has neither a law nor a reason why there is none."""
    return sorted({name for name in map(family, names) if name not in BOUND and name not in REASONS})


def without_law(log: MetricLog) -> list[str]:
    """The families of a run's metrics that no law is known to bind."""
    return without_entry(series.metric for series in log)
