"""Expressions of PromQL over the series of one run."""

from __future__ import annotations

RUN = 'run="$run"'
SERVER = 'job="server"'
OVER = "[$__rate_interval]"
WHOLE = "[$__range]"


def suite(metric: str, labels: str = "") -> str:
    """A metric of the suite's own, or one that both jobs have."""
    return f"{metric}{{{_joined(RUN, labels)}}}"


def server(metric: str, labels: str = "") -> str:
    """A metric that was scraped of the server."""
    return suite(metric, _joined(SERVER, labels))


def total(series: str, by: str = "") -> str:
    return f"sum by ({by}) ({series})" if by else f"sum({series})"


def rate(series: str, by: str = "") -> str:
    """Growth a second, summed."""
    return total(f"rate({series}{OVER})", by)


def percentile(share: float, buckets: str) -> str:
    return f"histogram_quantile({share}, {rate(buckets, 'le')})"


def _joined(*labels: str) -> str:
    return ",".join(label for label in labels if label)
