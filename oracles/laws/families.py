"""Each metric family that a vLLM server exports, with the laws that bind it or the reason why none does.

Also which families a server must export, by its release and by the features that the run used.


The laws of any counter, gauge and histogram (`oracles.counters`, `oracles.laws.generic`) bind all of them.
Read from `v1/metrics/loggers.py`, the metrics of the offloading connector and what servers of each release
export.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from history.metrics import MetricLog
from history.protocol import audit_records as ids
from history.protocol.audit_records import Label
from history.reader import History
from history.verdict import metric
from oracles.findings import LEDGER, METRICS, REQUESTS, Findings, Rule
from oracles.laws import client_laws, generic, transfers
from oracles.laws.law import Release
from oracles.laws.relations import LAWS
from oracles.views.timeline import end_ns, release

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
        "accounting/tier-lookups-exceed-misses",
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
        for series in law.metrics:
            rules[family(series)][law.rule.id] = None
    for gauge in generic.GAUGES:
        rules[gauge][generic.GAUGE_RANGE.id] = None
    for counter in generic.UNUSED_COUNTERS:
        rules[counter][generic.UNUSED.id] = None
    for name, bound in ELSEWHERE.items():
        rules[name] |= dict.fromkeys(bound)
    return {name: tuple(bound) for name, bound in sorted(rules.items())}


BOUND = _bound()
"""Ids of the rules that bind a family, by its name."""


def without_entry(names: Iterable[str]) -> list[str]:
    """Which of these series belong to a family that has neither a law nor a reason why there is none."""
    return sorted({name for name in map(family, names) if name not in BOUND and name not in REASONS})


def without_law(log: MetricLog) -> list[str]:
    """The families of a run's metrics that no law is known to bind."""
    return without_entry(series.metric for series in log)


MISSING = Rule(
    "counters/family-missing",
    "Once a server has answered a request it exports each metric family that its release has.",
    "vLLM source",
    (METRICS, REQUESTS, LEDGER),
    "no request was answered before the last scrape, or the table of families ends at an earlier release",
)
Needs = Literal["nothing", "offload", "stores", "loads"]
"""What a run must use of the server for a family to be exported."""
NEWEST: Release = (0, 32)
"""The last release whose families are known. A later one may drop some."""
NO_STATISTICS = "--disable-log-stats"
MOST_MISSING = 0.5
"""Where a larger share is missing, something else than a server of the release was scraped."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Families that came with a release."""

    since: Release
    needs: Needs
    names: tuple[str, ...]


EXPORTED = (
    Exported(
        (0, 18),
        "nothing",
        (
            "http_request_duration_highr_seconds",
            "http_request_duration_seconds",
            "http_request_size_bytes",
            "http_requests_total",
            "http_response_size_bytes",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "vllm:cache_config_info",
            "vllm:e2e_request_latency_seconds",
            "vllm:engine_sleep_state",
            "vllm:estimated_flops_per_gpu_total",
            "vllm:estimated_read_bytes_per_gpu_total",
            "vllm:estimated_write_bytes_per_gpu_total",
            "vllm:external_prefix_cache_hits_total",
            "vllm:external_prefix_cache_queries_total",
            "vllm:generation_tokens_total",
            "vllm:inter_token_latency_seconds",
            "vllm:iteration_tokens_total",
            "vllm:kv_cache_usage_perc",
            "vllm:mm_cache_hits_total",
            "vllm:mm_cache_queries_total",
            "vllm:num_preemptions_total",
            "vllm:num_requests_running",
            "vllm:num_requests_waiting",
            "vllm:prefix_cache_hits_total",
            "vllm:prefix_cache_queries_total",
            "vllm:prompt_tokens_by_source_total",
            "vllm:prompt_tokens_cached_total",
            "vllm:prompt_tokens_total",
            "vllm:request_decode_time_seconds",
            "vllm:request_generation_tokens",
            "vllm:request_inference_time_seconds",
            "vllm:request_max_num_generation_tokens",
            "vllm:request_params_max_tokens",
            "vllm:request_params_n",
            "vllm:request_prefill_kv_computed_tokens",
            "vllm:request_prefill_time_seconds",
            "vllm:request_prompt_tokens",
            "vllm:request_queue_time_seconds",
            "vllm:request_success_total",
            "vllm:request_time_per_output_token_seconds",
            "vllm:time_to_first_token_seconds",
        ),
    ),
    Exported(
        (0, 18),
        "stores",
        ("vllm:kv_offload_size", "vllm:kv_offload_total_bytes_total", "vllm:kv_offload_total_time_total"),
    ),
    Exported((0, 20), "nothing", ("vllm:num_requests_waiting_by_reason",)),
    Exported((0, 24), "offload", ("vllm:kv_offload_cpu_cache_usage_perc",)),
    Exported(
        (0, 24),
        "stores",
        (
            "vllm:kv_offload_store_bytes_total",
            "vllm:kv_offload_store_size",
            "vllm:kv_offload_store_time_total",
        ),
    ),
    Exported(
        (0, 24),
        "loads",
        ("vllm:kv_offload_load_bytes_total", "vllm:kv_offload_load_size", "vllm:kv_offload_load_time_total"),
    ),
    Exported(
        (0, 32),
        "nothing",
        (
            "vllm:admission_rejections_total",
            "vllm:prompt_tokens_cached_by_source_total",
            "vllm:request_num_preemptions",
        ),
    ),
    Exported(
        (0, 32),
        "offload",
        (
            "vllm:kv_offload_cpu_allocation_size",
            "vllm:kv_offload_cpu_cache_read_usage_perc",
            "vllm:kv_offload_cpu_cache_write_usage_perc",
            "vllm:kv_offload_lookup_sync_delay_seconds",
            "vllm:num_requests_kv_fetch_by_stage",
        ),
    ),
)
"""Families by the release that introduced them, from 0.18 on."""
ACCOUNTS: Mapping[Needs, Label] = {"stores": ids.STORES, "loads": ids.LOADS}
NAME_ENDS = ("", "_count")
"""What the name of a family is followed by, where it is no histogram and where it is one."""


def judge_exported(history: History, found: Findings) -> None:
    """Note families that no scrape has.

    One that some scrape has and a later one lacks breaks another rule.
    """
    log = history.metrics
    if not history.plan.starts_server or not _answered(history):
        return
    due = list(_due(history))
    missing = [name for name in due if not any(log.find(f"{name}{part}") for part in NAME_ENDS)]
    if len(missing) > MOST_MISSING * len(due):
        return
    found.checked += len(due)
    for name in missing:
        text = (
            f"no scrape has {name}, which a server of release {'.'.join(map(str, release(history)))} exports"
        )
        found.violation(MISSING, metric(name), text, t_ns=log.times_ns[-1])


def _answered(history: History) -> bool:
    times = history.metrics.times_ns
    return bool(times) and any(
        record.outcome == "ok" and end_ns(record) < times[-1] for record in history.requests
    )


def _due(history: History) -> Iterator[str]:
    running, server = release(history), history.plan.scenario.server
    if running > NEWEST or NO_STATISTICS in server.extra_args:
        return
    used: Mapping[Needs, bool] = {
        "nothing": True,
        "offload": server.offload,
        **{needs: server.offload and _ended(history, label) for needs, label in ACCOUNTS.items()},
    }
    for family in EXPORTED:
        if family.since <= running and used[family.needs]:
            yield from family.names


def _ended(history: History, label: Label) -> bool:
    """Whether anything of an account had ended by a scrape, by the books of the scheduler."""
    times = history.metrics.times_ns
    for line in history.ledger:
        account = None if line.balance is None else line.balance.accounts.get(label)
        if account is not None and line.t_ns < times[-1] and account.begun > account.open:
            return True
    return False
