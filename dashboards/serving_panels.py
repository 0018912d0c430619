"""Panels of the server's own metrics of its work."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.parts import BLUE, GREEN, HALF, ORANGE, RED, Panel, Query, graph
from dashboards.promql import rate, server, total


def panels() -> Iterator[Panel]:
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
