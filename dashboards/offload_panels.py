"""Panels of the offload tier and of the faults that strike it."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.parts import BLUE, GREEN, GREY, HALF, RED, Panel, Query, graph
from dashboards.promql import OVER, rate, server, suite, total


def panels() -> Iterator[Panel]:
    yield graph("Copies from and to the tier", "Bytes a second.", "Bps", _both_directions("bytes"))
    yield graph(
        "Time in copies",
        "Seconds of copying in a second. Above 1, copies run beside one another.",
        "short",
        _both_directions("time"),
    )
    yield graph(
        "Found in the tier",
        "Tokens a second that were asked for, and that were found there.",
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
            Query(total(suite("kvchaos_canaries_total", 'outcome="ok"')), "ok", GREEN),
            Query(total(suite("kvchaos_canaries_total", 'outcome="failed"')), "failed", RED),
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
