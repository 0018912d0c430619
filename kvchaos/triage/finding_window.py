"""The time to look at first in a failing run: around its first finding. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from history.reader import History
from history.verdict import Finding, RunVerdict

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
AROUND_S = 30
"""Seconds before and after the finding."""
DEFAULT_METRIC = "vllm:num_requests_running"


@dataclass(frozen=True, slots=True)
class FindingWindow:
    """A stretch of a run."""

    rule: str | None
    """Of the finding; None: the run has none with a time, so that the window is the run."""
    metric: str
    from_ns: int
    to_ns: int

    def grafana_url(self, base: str, run_id: str) -> str:
        """The dashboard of the run at this time."""
        query = {"var-run": run_id, "from": self.from_ns // NS_PER_MS, "to": self.to_ns // NS_PER_MS}
        return f"{base.rstrip('/')}/d/kvchaos-run?{urlencode(query)}"

    def prometheus_url(self, base: str) -> str:
        """A graph of the metric at this time."""
        end = datetime.fromtimestamp(self.to_ns / NS_PER_S, UTC)
        query = {
            "g0.expr": self.metric,
            "g0.tab": "0",
            "g0.range_input": f"{max(1, (self.to_ns - self.from_ns) // NS_PER_S)}s",
            "g0.end_input": f"{end:%Y-%m-%d %H:%M:%S}",
        }
        return f"{base.rstrip('/')}/graph?{urlencode(query)}"


def finding_window(history: History, verdict: RunVerdict) -> FindingWindow:
    """Around the first finding of the first cause; unexplained causes come first."""
    start, end = _whole(history)
    for cause in sorted(verdict.causes, key=lambda each: not each.unexplained):
        found = [
            finding for result in verdict.results for finding in result.findings if finding.rule == cause.rule
        ]
        timed = [(t_ns, finding) for finding in found if (t_ns := _time(finding)) is not None]
        if timed:
            t_ns, finding = min(timed, key=lambda each: each[0])
            around = AROUND_S * NS_PER_S
            return FindingWindow(
                cause.rule,
                finding.metric or DEFAULT_METRIC,
                max(start, t_ns - around),
                max(start, min(end, t_ns + around)),
            )
    return FindingWindow(None, DEFAULT_METRIC, start, end)


def _time(finding: Finding) -> int | None:
    """When the violation shows: the time of the finding, or of its last sample."""
    times: Iterable[int] = [finding.t_ns] if finding.t_ns is not None else [t for t, _ in finding.samples]
    return max(times, default=None)


def _whole(history: History) -> tuple[int, int]:
    times = [event.t_ns for event in history.events]
    return (min(times), max(times)) if times else (0, 0)
