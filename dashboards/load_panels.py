"""Panels of the load, from the clients' metrics, next to the server's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dashboards.parts import BLUE, BLUES, GREEN, GREY, HALF, RED, Panel, Query, graph
from dashboards.promql import percentile, rate, server, suite, total

OUTCOMES = {"ok": GREEN, "failed": RED, "aborted": GREY}
SHARES = (0.5, 0.95, 0.99)


def panels() -> Iterator[Panel]:
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
