"""Panels that show whether counts can be believed, and who counts."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.load_panels import percentiles
from dashboards.parts import BLUE, GREY, ORANGE, QUARTER, RED, Panel, Query, graph
from dashboards.promql import OVER, WHOLE, server, suite, total


def panels() -> Iterator[Panel]:
    more = f"{total(server('vllm:generation_tokens_total'))} - {total(suite('kvchaos_tokens_total'))}"
    yield graph(
        "Generated tokens, server less clients",
        "At rest, what canaries got and nothing else. Under load the two are scraped at different moments.",
        "short",
        [Query(more, "server less clients", RED)],
        least=None,
    )
    yield graph(
        "Restarts of the server, and counters that fell",
        "So far in the time shown. A counter may only fall when the server was started anew.",
        "short",
        [
            Query(total(f"changes({server('process_start_time_seconds')}{WHOLE})"), "restarts", GREY),
            Query(_falls("vllm:generation_tokens_total"), "generated tokens", RED),
            Query(_falls("vllm:prompt_tokens_total"), "prompt tokens", ORANGE),
        ],
    )
    yield graph(
        "Trouble",
        "Ends of the server and stalls, by the diary of the run.",
        "short",
        [Query(suite("kvchaos_events_total", 'kind=~"server_exit|stall"'), "{{kind}}")],
    )


def health() -> Iterator[Panel]:
    """Panels of those who measure, and of the server's process."""
    yield graph(
        "Lag of the load workers",
        "How late their event loops wake up. Much of it, and the client is the limit, not the server.",
        "s",
        percentiles(suite("kvchaos_client_lag_seconds_bucket")),
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
