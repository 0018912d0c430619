"""PromQL of the dashboards: selectors of runs, nights and servers in production, rates, sums, quantiles."""

from __future__ import annotations

RUN = 'run="$run"'
SERVER = 'job="server"'
OVER = "[$__rate_interval]"
SERVERS = 'instance=~"$instance",model_name=~"$model|"'
"""The chosen servers in production. Series of a whole server have no model."""
WHOLE = "[$__range]"
NIGHTLY, DAY = "[$__interval]", "[1d]"
"""Windows with one night each: for a point a night, and for a value that stays until the next night."""


def suite(metric: str, labels: str = "") -> str:
    """A metric of the suite's own, or one that both jobs have."""
    return f"{metric}{{{_joined(RUN, labels)}}}"


def server(metric: str, labels: str = "") -> str:
    """A metric that was scraped of the server."""
    return suite(metric, _joined(SERVER, labels))


def fleet(metric: str, labels: str = "") -> str:
    """A metric of the chosen servers in production, or a series that the recording rules make of it."""
    return f"{metric}{{{_joined(SERVERS, labels)}}}"


def total(series: str, by: str = "") -> str:
    """PromQL: the sum of a series, for each value of the label `by` where one is given."""
    return f"sum by ({by}) ({series})" if by else f"sum({series})"


def rate(series: str, by: str = "") -> str:
    """Growth a second, summed."""
    return total(f"rate({series}{OVER})", by)


def percentile(share: float, buckets: str) -> str:
    """PromQL: the quantile `share` (0 to 1) of a histogram, from the rates of its buckets."""
    return f"histogram_quantile({share}, {rate(buckets, 'le')})"


def _joined(*labels: str) -> str:
    return ",".join(label for label in labels if label)


def night(metric: str, labels: str = "", window: str = NIGHTLY) -> str:
    """The last sample of a metric of the nights within a window. A night is one sample, at its start."""
    return last(f"kvchaos_night_{metric}", labels, window)


def soak(metric: str, labels: str = "", window: str = NIGHTLY) -> str:
    """The same of a metric of the nights of `kvchaos soak`."""
    return last(f"kvchaos_soak_{metric}", labels, window)


def last(metric: str, labels: str, window: str) -> str:
    """The last sample of each series within a window."""
    return f"last_over_time({metric}{{{labels}}}{window})"


def or_none(expr: str, **labels: str) -> str:
    """The series of a query, else one with these labels: a panel of names without a series is blank."""
    alone = "vector(1)"
    for label, value in labels.items():
        alone = f'label_replace({alone}, "{label}", "{value}", "", "")'
    return f"{expr} or on () {alone}"
