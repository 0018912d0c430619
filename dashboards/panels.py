"""The panels of a run's dashboard by subject: load, server, offload tier, counts, and who measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dashboards.parts import (
    BLUE,
    BLUES,
    GREEN,
    GREY,
    HALF,
    ORANGE,
    QUARTER,
    RED,
    Panel,
    Query,
    graph,
)
from dashboards.promql import OVER, WHOLE, percentile, rate, server, suite, total

OUTCOMES = {"ok": GREEN, "failed": RED, "aborted": GREY}
SHARES = (0.5, 0.95, 0.99)


def load() -> Iterator[Panel]:
    """Panels of the load: the clients' metrics and the server's."""
    yield graph(
        "Requests ended",
        "Per second, counted by the client.",
        "reqps",
        [
            Query(rate(suite("kvchaos_requests_total", f'outcome="{outcome}"')), outcome, colour)
            for outcome, colour in OUTCOMES.items()
        ],
    )
    known = " + ".join(total(server(f"vllm:num_requests_{state}")) for state in ("running", "waiting"))
    yield graph(
        "Requests in flight",
        "Requests whose answers the clients wait for, and requests that the server runs or queues.",
        "short",
        [
            Query(total(suite("kvchaos_requests_in_flight")), "clients", BLUE),
            Query(known, "server", GREY),
        ],
    )
    yield graph(
        "Tokens/s",
        "Tokens that the clients received, and tokens that the server generated.",
        "short",
        [
            Query(rate(suite("kvchaos_tokens_total")), "clients", BLUE),
            Query(rate(server("vllm:generation_tokens_total")), "server", GREY),
        ],
    )
    yield _times(
        "TTFT",
        "Of successful requests, from the scheduled time; and the server's histogram, from the arrival.",
        "kvchaos_ttft_seconds",
        "vllm:time_to_first_token_seconds",
    )
    yield _times(
        "ITL",
        "Time between two events of a stream, of successful requests; and the server's histogram.",
        "kvchaos_itl_seconds",
        "vllm:inter_token_latency_seconds",
    )


def percentiles(buckets: str) -> Sequence[Query]:
    """The 50th, 95th and 99th."""
    return [
        Query(percentile(share, buckets), f"{100 * share:.0f} %", colour)
        for share, colour in zip(SHARES, BLUES, strict=True)
    ]


def _times(title: str, about: str, by_clients: str, by_server: str) -> Panel:
    own = Query(percentile(SHARES[-1], server(f"{by_server}_bucket")), "server, 99 %", GREY)
    return graph(title, about, "s", [*percentiles(suite(f"{by_clients}_bucket")), own], width=HALF)


def serving() -> Iterator[Panel]:
    """Panels of the server's own metrics."""
    yield graph(
        "Queue",
        "Requests that the server runs, and requests that wait.",
        "short",
        [
            Query(total(server("vllm:num_requests_running")), "running", GREEN),
            Query(total(server("vllm:num_requests_waiting")), "waiting", ORANGE),
        ],
    )
    yield graph(
        "KV cache in use",
        "Share of the device's KV blocks that are in use.",
        "percentunit",
        [Query(f"max({server('vllm:kv_cache_usage_perc')})", "device", BLUE)],
    )
    yield graph(
        "Preemptions",
        "Requests that were preempted for lack of blocks, per second.",
        "short",
        [Query(rate(server("vllm:num_preemptions_total")), "preemptions", RED)],
    )
    yield graph(
        "Prompt tokens by source",
        "Tokens/s that were computed, found on the device, or loaded from the CPU tier.",
        "short",
        [Query(rate(server("vllm:prompt_tokens_by_source_total"), "source"), "{{source}}")],
    )
    yield graph(
        "Waiting requests by reason",
        "From 0.20 on. Requests that wait for KV loads are deferred.",
        "short",
        [Query(total(server("vllm:num_requests_waiting_by_reason"), "reason"), "{{reason}}")],
    )
    yield graph(
        "Requests ended, by the server",
        "Per second, by the finish reason of the server.",
        "reqps",
        [Query(rate(server("vllm:request_success_total"), "finished_reason"), "{{finished_reason}}")],
    )


def offload() -> Iterator[Panel]:
    """Panels of the offload tier and of the faults in it."""
    yield graph("Copies from and to the CPU tier", "Bytes/s.", "Bps", _both_directions("bytes"))
    yield graph(
        "Time in copies",
        "Seconds of copying per second. Above 1, copies run in parallel.",
        "short",
        _both_directions("time"),
    )
    yield graph(
        "Hits in the CPU tier",
        "Tokens/s that were looked up, and tokens/s that hit.",
        "short",
        [
            Query(rate(server("vllm:external_prefix_cache_hits_total")), "hits", GREEN),
            Query(rate(server("vllm:external_prefix_cache_queries_total")), "queries", GREY),
        ],
    )
    yield graph(
        "CPU tier in use",
        "Share of the tier's blocks in use, from 0.24 on, and pinned by loads and stores, from 0.32 on.",
        "percentunit",
        [
            Query(f"max({server(f'vllm:kv_offload_cpu_cache_{part}usage_perc')})", name, colour)
            for part, name, colour in (
                ("", "in use", BLUE),
                ("read_", "pinned by loads", GREEN),
                ("write_", "pinned by stores", ORANGE),
            )
        ],
        width=HALF,
    )
    yield graph(
        "Lookup delay",
        "Time of a lookup in the tier, from 0.32 on.",
        "s",
        percentiles(server("vllm:kv_offload_lookup_sync_delay_seconds_bucket")),
        width=HALF,
    )
    yield graph(
        "Firings",
        "Injections of each fault, per second.",
        "short",
        [Query(f"rate({suite('kvchaos_fault_firings_total')}{OVER})", "{{fault}}: {{kind}}")],
        width=HALF,
    )
    yield graph(
        "Probes",
        "Probe requests of kvchaos so far.",
        "short",
        [
            Query(total(suite("kvchaos_probes_total", 'outcome="ok"')), "ok", GREEN),
            Query(total(suite("kvchaos_probes_total", 'outcome="failed"')), "failed", RED),
        ],
        width=HALF,
    )


def _both_directions(what: str) -> list[Query]:
    return [
        Query(_moved("load", "CPU_to_GPU", what), "load", GREEN),
        Query(_moved("store", "GPU_to_CPU", what), "store", BLUE),
    ]


def _moved(direction: str, transfer: str, what: str) -> str:
    """The rate by the name of the release: from 0.24 on, and before."""
    new = rate(server(f"vllm:kv_offload_{direction}_{what}_total"))
    old = rate(server(f"vllm:kv_offload_total_{what}_total", f'transfer_type="{transfer}"'))
    return f"{new} or {old}"


def counts() -> Iterator[Panel]:
    """Consistency of the counters."""
    more = f"{total(server('vllm:generation_tokens_total'))} - {total(suite('kvchaos_tokens_total'))}"
    yield graph(
        "Generated tokens: server minus clients",
        "The difference so far. Without load, only tokens of probes. Under load, the scrape times differ. "
        "A server that restarts counts from 0.",
        "short",
        [Query(more, "server minus clients", RED)],
        least=None,
    )
    yield graph(
        "Restarts of the server, and counters that decreased",
        "In the time shown. A counter may decrease only when the server restarts.",
        "short",
        [
            Query(total(f"changes({server('process_start_time_seconds')}{WHOLE})"), "restarts", GREY),
            Query(_falls("vllm:generation_tokens_total"), "generated tokens", RED),
            Query(_falls("vllm:prompt_tokens_total"), "prompt tokens", ORANGE),
        ],
    )
    yield graph(
        "Incidents",
        "Exits of the server and stalls so far, from the events of the run.",
        "short",
        [Query(suite("kvchaos_events_total", 'kind=~"server_exit|stall"'), "{{kind}}")],
    )


def health() -> Iterator[Panel]:
    """Panels of the scrapers and of the server's process."""
    yield graph(
        "Event loop lag of the load workers",
        "How late their event loops wake up. A high lag means that the load generator is too slow.",
        "s",
        percentiles(suite("kvchaos_client_event_loop_lag_seconds_bucket")),
        width=QUARTER,
    )
    yield graph(
        "CPU use of the load workers",
        "Share of one CPU.",
        "percentunit",
        [Query(f"rate({suite('kvchaos_client_cpu_seconds_total')}{OVER})", "worker {{worker}}")],
        width=QUARTER,
    )
    yield graph(
        "Scrape duration",
        "How long the server and kvchaos take to answer Prometheus.",
        "s",
        [Query(suite("scrape_duration_seconds"), "{{job}}")],
        width=QUARTER,
    )
    yield graph(
        "Memory of the server",
        "Resident memory of the API server process.",
        "bytes",
        [Query(server("process_resident_memory_bytes"), "resident", BLUE)],
        width=QUARTER,
    )


def gpus() -> Iterator[Panel]:
    """Panels of the GPUs, by the driver's figures."""
    yield graph(
        "GPU memory",
        "Device memory in use, by all processes.",
        "bytes",
        [Query(suite("kvchaos_gpu_memory_used_bytes"), "GPU {{gpu}}")],
        width=QUARTER,
    )
    yield graph(
        "GPU utilization",
        "Share of the time in which a kernel ran.",
        "percentunit",
        [Query(suite("kvchaos_gpu_busy_ratio"), "GPU {{gpu}}")],
        width=QUARTER,
    )
    yield graph(
        "GPU bus",
        "Throughput of the bus, as the card sees it. KV stores are sent, KV loads are received.",
        "Bps",
        [Query(suite("kvchaos_gpu_bus_bytes_per_second"), "GPU {{gpu}}, {{direction}}")],
        width=QUARTER,
    )
    yield graph(
        "GPU power",
        "Power that the card draws.",
        "watt",
        [Query(suite("kvchaos_gpu_power_watts"), "GPU {{gpu}}")],
        width=QUARTER,
    )


def _falls(counter: str) -> str:
    return total(f"resets({server(counter)}{WHOLE})")
