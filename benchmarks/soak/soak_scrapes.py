"""The scrapes of a soak: the series of a server of 0.32.0, and their changes four times a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.soak.soak_plan import KV_TOKEN_BYTES, MONO_SHIFT_NS, PROMPT_TOKENS, START_NS
from benchmarks.soak.soak_requests import Columns, Floats, Ints
from history.metrics import series_key
from history.records import ScrapeLine

ENGINE_LABELS = {"engine": "0", "model_name": "tiny"}
TOKEN_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
COUNT_BOUNDS = (1, 2, 5, 10, 20)
STEP_TOKEN_BOUNDS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
TTFT_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
ITL_BOUNDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
E2EL_BOUNDS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
HTTP_BOUNDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0),
    *(7.5, 10.0, 30.0, 60.0),
)
LOOKUP_BOUNDS = (1e-05, 5e-05, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
BYTE_BOUNDS = (1e06, 5e06, 1e07, 2e07, 4e07, 6e07, 8e07, 1e08, 1.5e08, 2e08)
ALLOCATION_BOUNDS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144)
IDLE = (
    *("num_requests_waiting", "estimated_flops_per_gpu_total", "estimated_read_bytes_per_gpu_total"),
    *("estimated_write_bytes_per_gpu_total", "mm_cache_queries_total", "mm_cache_hits_total"),
    *("num_preemptions_total", "kv_offload_cpu_cache_write_usage_perc", "kv_offload_cpu_cache_usage_perc"),
    *("kv_offload_cpu_cache_read_usage_perc", "kv_offload_allocation_failure_total"),
)
IDLE_BY_LABEL = {
    "num_requests_waiting_by_reason": ("reason", ("capacity", "deferred")),
    "num_requests_kv_fetch_by_stage": ("stage", ("waiting_to_start", "in_progress", "completed_waiting")),
    "engine_sleep_state": ("sleep_state", ("awake", "weights_offloaded", "discard_all")),
    "request_success_total": ("finished_reason", ("stop", "abort", "error", "repetition")),
    "admission_rejections_total": ("reason", ("max_num_queued_reqs", "max_num_queued_tokens")),
    "prompt_tokens_cached_by_source_total": ("source", ("p2p", "disk", "external_unspecified")),
}


@dataclass(frozen=True, slots=True)
class Growth:
    """A series, and by how much each request makes it grow when it ends; nothing: it stays at `base`."""

    key: str
    amounts: Ints | Floats | None = None
    base: float = 0.0


def growths(load: Columns) -> Iterator[Growth]:
    """All counters, histograms and constants. The requests are those of the columns, in their order."""
    yield from _process(len(load.tokens))
    yield from _tokens(load)
    yield Growth(series_key("vllm:cache_config_info", {"engine": "0", "block_size": "32"}), base=1.0)
    for name in IDLE:
        yield _engine_series(name)
    for name, (label, values) in IDLE_BY_LABEL.items():
        for value in values:
            yield _constant(name, {label: value})
    yield from _sizes(load)
    yield from _times(load)
    yield from _copies(load)
    yield from _http(load)


def _process(count: int) -> Iterator[Growth]:
    yield Growth("process_start_time_seconds", base=START_NS / 1e9)
    yield Growth("process_max_fds", base=1024.0)
    yield Growth("process_open_fds", base=60.0)
    yield Growth("process_virtual_memory_bytes", base=9e9)
    yield Growth("process_resident_memory_bytes", np.full(count, 64.0), base=7e8)
    yield Growth("process_cpu_seconds_total", np.full(count, 0.01))
    yield Growth('python_info{implementation="CPython",version="3.11.7"}', base=1.0)
    for generation in range(3):
        for name in ("objects_collected", "objects_uncollectable"):
            yield Growth(f'python_gc_{name}_total{{generation="{generation}"}}', base=500.0)
        rate = np.full(count, 0.1**generation)
        yield Growth(f'python_gc_collections_total{{generation="{generation}"}}', rate)


def _tokens(load: Columns) -> Iterator[Growth]:
    cached = load.local + load.external
    prompt = np.full_like(cached, PROMPT_TOKENS)
    yield _engine_series("prompt_tokens_total", prompt)
    yield _engine_series("prompt_tokens_cached_total", cached)
    yield _engine_series("generation_tokens_total", load.tokens)
    yield _engine_series("request_success_total", np.ones_like(prompt), finished_reason="length")
    yield _engine_series("prefix_cache_queries_total", prompt)
    yield _engine_series("prefix_cache_hits_total", load.local)
    yield _engine_series("external_prefix_cache_queries_total", prompt - load.local)
    yield _engine_series("external_prefix_cache_hits_total", load.external)
    for source, amounts in (
        ("local_compute", prompt - cached),
        ("local_cache_hit", load.local),
        ("external_kv_transfer", load.external),
    ):
        yield _engine_series("prompt_tokens_by_source_total", amounts, source=source)
    for source, amounts in (("device", load.local), ("host", load.external)):
        yield _engine_series("prompt_tokens_cached_by_source_total", amounts, source=source)


def _sizes(load: Columns) -> Iterator[Growth]:
    ones = np.ones_like(load.tokens)
    prompt = PROMPT_TOKENS * ones
    yield from _histogram("vllm:request_prompt_tokens", TOKEN_BOUNDS, prompt, ones)
    for name in (
        "request_generation_tokens",
        "request_max_num_generation_tokens",
        "request_params_max_tokens",
    ):
        yield from _histogram(f"vllm:{name}", TOKEN_BOUNDS, load.tokens, ones)
    computed = prompt - load.local - load.external
    yield from _histogram("vllm:request_prefill_kv_computed_tokens", TOKEN_BOUNDS, computed, ones)
    yield from _histogram("vllm:request_params_n", COUNT_BOUNDS, ones, ones)
    yield from _histogram("vllm:request_num_preemptions", COUNT_BOUNDS, 0 * ones, ones)
    yield from _histogram(
        "vllm:iteration_tokens_total", STEP_TOKEN_BOUNDS, 1 + computed / load.tokens, load.tokens
    )


def _times(load: Columns) -> Iterator[Growth]:
    ones = np.ones_like(load.tokens)
    first, end = load.first_us / 1e6, load.end_us / 1e6
    later = load.tokens - 1
    decode = np.where(later > 0, end - first, 0.0)
    between = decode / np.maximum(later, 1)
    yield from _histogram("vllm:time_to_first_token_seconds", TTFT_BOUNDS, first, ones)
    yield from _histogram("vllm:inter_token_latency_seconds", ITL_BOUNDS, between, later)
    yield from _histogram("vllm:request_time_per_output_token_seconds", ITL_BOUNDS, between, ones)
    for name, seconds in (
        ("e2e_request_latency", end),
        ("request_queue_time", first / 10),
        ("request_inference_time", first * 0.9 + decode),
        ("request_prefill_time", first * 0.9),
        ("request_decode_time", decode),
    ):
        yield from _histogram(f"vllm:{name}_seconds", E2EL_BOUNDS, seconds, ones)


def _copies(load: Columns) -> Iterator[Growth]:
    loads, moved = (load.copied > 0).astype(np.int64), load.copied * KV_TOKEN_BYTES
    for direction, bytes_name in (("load", "CPU_to_GPU"), ("store", "GPU_to_CPU")):
        yield _engine_series(f"kv_offload_{direction}_bytes_total", moved)
        yield _engine_series(f"kv_offload_{direction}_time_total", moved / 1e10)
        yield from _histogram(f"vllm:kv_offload_{direction}_size", BYTE_BOUNDS, moved, loads)
        yield _engine_series("kv_offload_total_bytes_total", moved, transfer_type=bytes_name)
        yield _engine_series("kv_offload_total_time_total", moved / 1e10, transfer_type=bytes_name)
        yield from _histogram("vllm:kv_offload_size", BYTE_BOUNDS, moved, loads, transfer_type=bytes_name)
    lookups = np.ones_like(loads)
    delay = load.first_us / 1e9
    yield from _histogram("vllm:kv_offload_lookup_sync_delay_seconds", LOOKUP_BOUNDS, delay, lookups)
    yield from _histogram("vllm:kv_offload_cpu_allocation_size", ALLOCATION_BOUNDS, 6 * lookups, loads)


def _http(load: Columns) -> Iterator[Growth]:
    ones, seconds = np.ones_like(load.tokens), load.end_us / 1e6
    handler = {"handler": "/v1/completions"}
    labels = {**handler, "method": "POST", "status": "2xx"}
    yield Growth(series_key("http_requests_total", labels), ones)
    for name in ("http_request_size_bytes", "http_response_size_bytes"):
        yield Growth(series_key(f"{name}_count", handler), ones)
        yield Growth(series_key(f"{name}_sum", handler), 900 * ones)
    yield from _bare_histogram("http_request_duration_highr_seconds", HTTP_BOUNDS, seconds, ones, {})
    labels = {**handler, "method": "POST"}
    yield from _bare_histogram("http_request_duration_seconds", (0.1, 0.5, 1.0), seconds, ones, labels)


def _engine_series(name: str, amounts: Ints | Floats | None = None, **labels: str) -> Growth:
    return Growth(series_key(f"vllm:{name}", {**ENGINE_LABELS, **labels}), amounts)


def _constant(name: str, labels: dict[str, str]) -> Growth:
    return Growth(series_key(f"vllm:{name}", {**ENGINE_LABELS, **labels}))


def _histogram(
    name: str, bounds: tuple[float, ...], values: Ints | Floats, weights: Ints, **labels: str
) -> Iterator[Growth]:
    return _bare_histogram(name, bounds, values, weights, {**ENGINE_LABELS, **labels})


def _bare_histogram(
    name: str, bounds: tuple[float, ...], values: Ints | Floats, weights: Ints, labels: dict[str, str]
) -> Iterator[Growth]:
    """Each request is observed `weights` times with its value."""
    for bound in bounds:
        key = series_key(f"{name}_bucket", {**labels, "le": str(float(bound))})
        yield Growth(key, np.where(values <= bound, weights, 0))
    yield Growth(series_key(f"{name}_bucket", {**labels, "le": "+Inf"}), weights)
    yield Growth(series_key(f"{name}_count", labels), weights)
    yield Growth(series_key(f"{name}_sum", labels), values * weights)


PERIOD_NS = 250_000_000
TOOK_US = 9_000
BATCH = 2_000
"""Scrapes encoded at a time."""


def write_scrapes(path: Path, load: Columns, first_ns: int, last_ns: int) -> int:
    """Write the scrapes from a time to another; how many there were."""
    times = np.arange(first_ns, last_ns, PERIOD_NS)
    keys, columns = _columns(load, times)
    encoder = msgspec.json.Encoder()
    before = np.full(len(keys), np.nan)
    with path.open("wb") as file:
        for start in range(0, len(times), BATCH):
            values = np.stack([column[start : start + BATCH] for column in columns], axis=1)
            changed = values != np.vstack([before, values[:-1]])
            for index, t_ns in enumerate(times[start : start + BATCH].tolist()):
                at = np.flatnonzero(changed[index])
                samples = zip(at.tolist(), values[index][at].tolist(), strict=True)
                line = ScrapeLine(
                    t_ns=t_ns,
                    mono_ns=t_ns - MONO_SHIFT_NS,
                    took_us=TOOK_US,
                    incarnation=START_NS / 1e9,
                    new=keys if start + index == 0 else [],
                    changed=dict(samples),
                    gone=[],
                    error=None,
                )
                file.write(encoder.encode(line) + b"\n")
            before = values[-1]
    return len(times)


def _columns(load: Columns, times: Ints) -> tuple[list[str], list[Floats]]:
    """The names of the series, and the values of each at every scrape."""
    ends = load.end_ns()
    order = np.argsort(ends)
    # A scrape shows what was so when it began; what ended before is in it.
    ended = np.searchsorted(ends[order], times)
    keys: list[str] = []
    columns: list[Floats] = []
    for growth in (*growths(load), *_gauges()):
        keys.append(growth.key)
        columns.append(_column(growth, order, ended))
    running = np.searchsorted(np.sort(load.start_ns), times) - ended
    columns[keys.index(RUNNING)] = running.astype(np.float64)
    columns[keys.index(USAGE)] = running / 64
    return keys, columns


def _column(growth: Growth, order: Ints, ended: Ints) -> Floats:
    if growth.amounts is None:
        return np.full(len(ended), growth.base)
    total = np.concatenate([[0.0], np.cumsum(growth.amounts[order], dtype=np.float64)])
    return growth.base + total[ended]


RUNNING = series_key("vllm:num_requests_running", ENGINE_LABELS)
USAGE = series_key("vllm:kv_cache_usage_perc", ENGINE_LABELS)


def _gauges() -> Iterator[Growth]:
    yield Growth(RUNNING)
    yield Growth(USAGE)
