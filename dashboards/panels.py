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
    OVER,
    QUARTER,
    RED,
    WHOLE,
    Panel,
    Query,
    graph,
    percentile,
    rate,
    server,
    suite,
    total,
)

OUTCOMES = {"ok": GREEN, "failed": RED, "aborted": GREY}
SHARES = (0.5, 0.95, 0.99)


def load() -> Iterator[Panel]:
    """Panels of the load: the clients' metrics and the server's."""
    yield graph(
        "Requests ended",
        "By the client, each second.",
        "reqps",
        [
            Query(rate(suite("kvchaos_requests_total", f'outcome="{outcome}"')), outcome, colour)
            for outcome, colour in OUTCOMES.items()
        ],
    )
    known = " + ".join(total(server(f"vllm:num_requests_{state}")) for state in ("running", "waiting"))
    yield graph(
        "On their way",
        "Requests that the clients wait for, beside those that the server knows of.",
        "short",
        [
            Query(total(suite("kvchaos_requests_in_flight")), "clients", BLUE),
            Query(known, "server", GREY),
        ],
    )
    yield graph(
        "Tokens a second",
        "That clients received, beside those that the server generated.",
        "short",
        [
            Query(rate(suite("kvchaos_tokens_total")), "clients", BLUE),
            Query(rate(server("vllm:generation_tokens_total")), "server", GREY),
        ],
    )
    yield _times(
        "TTFT",
        "Of good answers, from when the request was due; and the server's own, from when it arrived there.",
        "kvchaos_ttft_seconds",
        "vllm:time_to_first_token_seconds",
    )
    yield _times(
        "ITL",
        "Time between the events of a stream, of good answers; and the server's own.",
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
        "Requests that the server runs, and those that wait for their turn.",
        "short",
        [
            Query(total(server("vllm:num_requests_running")), "running", GREEN),
            Query(total(server("vllm:num_requests_waiting")), "waiting", ORANGE),
        ],
    )
    yield graph(
        "KV cache in use",
        "Share of the blocks on the device that requests hold.",
        "percentunit",
        [Query(f"max({server('vllm:kv_cache_usage_perc')})", "device", BLUE)],
    )
    yield graph(
        "Preemptions",
        "Requests put back to make room, each second.",
        "short",
        [Query(rate(server("vllm:num_preemptions_total")), "preemptions", RED)],
    )
    yield graph(
        "Where prompt tokens come from",
        "Tokens a second: computed, found on the device, or loaded from the offload tier.",
        "short",
        [Query(rate(server("vllm:prompt_tokens_by_source_total"), "source"), "{{source}}")],
        width=HALF,
    )
    yield graph(
        "Requests ended, by the server",
        "By the reason that the server gives, each second.",
        "reqps",
        [Query(rate(server("vllm:request_success_total"), "finished_reason"), "{{finished_reason}}")],
        width=HALF,
    )


def offload() -> Iterator[Panel]:
    """Panels of the offload tier and of the faults in it."""
    yield graph("Copies from and to the tier", "Bytes a second.", "Bps", _both_directions("bytes"))
    yield graph(
        "Time in copies",
        "Seconds of copying in a second. Above 1, copies run beside one another.",
        "short",
        _both_directions("time"),
    )
    yield graph(
        "Found in the tier",
        "Tokens a second that were looked up, and that were found there.",
        "short",
        [
            Query(rate(server("vllm:external_prefix_cache_hits_total")), "found", GREEN),
            Query(rate(server("vllm:external_prefix_cache_queries_total")), "asked for", GREY),
        ],
    )
    yield graph(
        "Firings",
        "Strikes of each fault, each second.",
        "short",
        [Query(f"rate({suite('kvchaos_fault_firings_total')}{OVER})", "{{fault}}: {{kind}}")],
        width=HALF,
    )
    yield graph(
        "Canaries",
        "The conductor's own requests so far.",
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
    """By the name that a release has for it: from 0.24 on, and before."""
    new = rate(server(f"vllm:kv_offload_{direction}_{what}_total"))
    old = rate(server(f"vllm:kv_offload_total_{what}_total", f'transfer_type="{transfer}"'))
    return f"{new} or {old}"


def counts() -> Iterator[Panel]:
    """Whether counts can be believed."""
    more = f"{total(server('vllm:generation_tokens_total'))} - {total(suite('kvchaos_tokens_total'))}"
    yield graph(
        "Generated tokens, server less clients",
        "At rest, what probes got and nothing else. Under load the two are scraped at different moments.",
        "short",
        [Query(more, "server less clients", RED)],
        least=None,
    )
    yield graph(
        "Restarts of the server, and counters that fell",
        "So far in the time shown. A counter may only fall when the server was restarted.",
        "short",
        [
            Query(total(f"changes({server('process_start_time_seconds')}{WHOLE})"), "restarts", GREY),
            Query(_falls("vllm:generation_tokens_total"), "generated tokens", RED),
            Query(_falls("vllm:prompt_tokens_total"), "prompt tokens", ORANGE),
        ],
    )
    yield graph(
        "Trouble",
        "Ends of the server and stalls, by the events of the run.",
        "short",
        [Query(suite("kvchaos_events_total", 'kind=~"server_exit|stall"'), "{{kind}}")],
    )


def health() -> Iterator[Panel]:
    """Panels of the scrapers and of the server's process."""
    yield graph(
        "Lag of the load workers",
        "How late their event loops wake up. Much of it, and the client is the limit, not the server.",
        "s",
        percentiles(suite("kvchaos_client_event_loop_lag_seconds_bucket")),
        width=QUARTER,
    )
    yield graph(
        "Processor of the load workers",
        "Share of one processor.",
        "percentunit",
        [Query(f"rate({suite('kvchaos_client_cpu_seconds_total')}{OVER})", "worker {{worker}}")],
        width=QUARTER,
    )
    yield graph(
        "Time of a scrape",
        "How long server and suite take to answer Prometheus.",
        "s",
        [Query(suite("scrape_duration_seconds"), "{{job}}")],
        width=QUARTER,
    )
    yield graph(
        "Memory of the server",
        "Of the process that answers requests.",
        "bytes",
        [Query(server("process_resident_memory_bytes"), "resident", BLUE)],
        width=QUARTER,
    )


def _falls(counter: str) -> str:
    return total(f"resets({server(counter)}{WHOLE})")
