"""What the server's histograms and its HTTP server say of requests, against what their clients saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from oracles.findings import METRICS, REQUESTS, Findings, Rule, Source
from oracles.laws.law import CHOICES, E2E, MAX_TOKENS, SUCCESS, TTFT
from oracles.views.timeline import NS_PER_S, NS_PER_US
from oracles.views.windows import Window

NOT_SETTLED = "there is no scrape of the same server after the last answer, or a metric is absent"


def _rule(name: str, law: str, source: Source = "vLLM source") -> Rule:
    return Rule(f"accounting/{name}", law, source, (METRICS, REQUESTS), NOT_SETTLED)


BY_REASON = _rule("finish-reasons", "The server counts requests by the finish reasons that clients received.")
MAX_TOKENS_SUM = _rule(
    "max-tokens-sum",
    "The histogram of max_tokens adds up to those that clients sent in the requests that ended.",
)
SENT = _rule(
    "requests-sent", "The histogram of choices has one observation of each request that a client sent."
)
CHOICES_SUM = _rule("choices-sum", "The histogram of choices adds up to the choices that clients requested.")
LATENCY = _rule(
    "latency-exceeds-client", "The latencies of all requests are no longer than their clients waited."
)
FIRST_TOKEN_TIME = _rule(
    "first-token-exceeds-client",
    "The times to the first token of all requests are no longer than their clients waited for it.",
)
HTTP_ANSWERS = _rule(
    "http-answers",
    "The HTTP server counts at least the completions that clients received, and no more than were sent.",
    "Prometheus",
)
RULES = (BY_REASON, MAX_TOKENS_SUM, SENT, CHOICES_SUM, LATENCY, FIRST_TOKEN_TIME, HTTP_ANSWERS)
HTTP = "http_requests_total"
COMPLETIONS = ("/v1/completions", "/v1/chat/completions")
CLOCKS = 1e-3
"""Relative difference that is allowed between two clocks of one machine."""
TICK_S = 1e-3
"""Bound on the rounding of a client's time, s."""
REASONS = ("length", "stop")


class Bound(NamedTuple):
    """The range in which the server's count must be."""

    rule: Rule
    what: str
    metric: str
    labels: tuple[dict[str, str], ...]
    """The server's count is the sum over these."""
    least: float
    most: float


def compare(window: Window, found: Findings) -> None:
    """Note what the server counted less or more than its clients and their strays explain."""
    for bound in _bounds(window):
        parts = [window.growth(bound.metric, **labels) for labels in bound.labels]
        present = [part for part in parts if part is not None]
        if not present:
            continue
        server = sum(present)
        found.checked += 1
        if not bound.least <= server <= bound.most:
            limits = f"{bound.least:g}" if bound.least == bound.most else f"{bound.least:g} to {bound.most:g}"
            text = f"the clients account for {limits} {bound.what}, but the server counts {server:g}"
            figures = {"least": bound.least, "most": bound.most, "server": server}
            window.violation(found, bound.rule, text, figures, bound.metric)


def _bounds(window: Window) -> Iterator[Bound]:
    ok, choices, extra = window.ok, sum(window.choices), window.spare
    single = ok if window.single else [record for record in ok if record.choices == 1]
    others = choices - len(single)
    ends = Counter([record.finish_reason for record in single])
    for reason in REASONS:
        ended = ends[reason]
        labels = ({"finished_reason": reason},)
        yield Bound(
            BY_REASON, f"requests ended by {reason}", SUCCESS, labels, ended, ended + others + extra.requests
        )
    tokens = window.over_choices([record.max_tokens for record in ok])
    yield Bound(
        MAX_TOKENS_SUM,
        "tokens requested",
        f"{MAX_TOKENS}_sum",
        ({},),
        tokens,
        tokens + extra.max_tokens,
    )
    sent = len(ok)
    yield Bound(SENT, "requests sent", f"{CHOICES}_count", ({},), sent, sent + len(window.strays))
    yield Bound(CHOICES_SUM, "choices requested", f"{CHOICES}_sum", ({},), choices, choices + extra.requests)
    answers = tuple({"handler": path, "method": "POST", "status": "2xx"} for path in COMPLETIONS)
    yield Bound(HTTP_ANSWERS, "completions answered", HTTP, answers, sent, sent + len(window.strays))
    if window.clean:
        yield _waited(LATENCY, "s of latency", E2E, window, [record.end_us for record in ok])
        first_us = [record.first_us or record.end_us for record in ok]
        yield _waited(FIRST_TOKEN_TIME, "s to the first token", TTFT, window, first_us)


def _waited(rule: Rule, what: str, family: str, window: Window, waited_us: list[int]) -> Bound:
    """The server's time of a choice lies within the time that its client waited."""
    waited_s = window.over_choices(waited_us) * NS_PER_US / NS_PER_S
    most = waited_s * (1 + CLOCKS) + TICK_S * sum(window.choices)
    return Bound(rule, what, f"{family}_sum", ({},), 0.0, most)
