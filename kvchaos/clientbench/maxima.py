"""The two maxima of a measurement, and which process limited each."""

from __future__ import annotations

from collections.abc import Sequence

from kvchaos.clientbench.step_figures import StepFigures

SATURATED = 0.9
"""From this share of a processor on, a process counts as saturated."""


def summarize(steps: Sequence[StepFigures]) -> list[str]:
    """One line for each maximum, with the process that limited it."""
    closed = [step for step in steps if step.rate is None]
    if not closed:
        return []
    tokens = max(closed, key=lambda step: step.events_per_s)
    requests = max(closed, key=lambda step: step.requests_per_s)
    return [
        f"most events: {tokens.events_per_s:.0f} /s at {tokens.concurrency} at once; {_limit(tokens)}",
        f"most requests: {requests.requests_per_s:.0f} /s at {requests.concurrency} at once; "
        f"{_limit(requests)}",
    ]


def _limit(step: StepFigures) -> str:
    if step.server_cpu >= SATURATED:
        return "the mock server was the limit, the client may be able to take more"
    if step.client_cpu >= SATURATED:
        return "the client was the limit"
    return "neither client nor mock server had all of a processor: busy machine, or too few at once"
