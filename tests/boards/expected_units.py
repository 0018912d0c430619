"""The unit of a query by the names of its metrics, and how Grafana writes values of each unit."""

from __future__ import annotations

import re

from tests.support.board_rules import SELECTOR

NUMBER = r"-?[\d.,]+"
TEXTS = {
    "s": rf"{NUMBER} (?:ns|µs|ms|s|mins?|hours?|days?|weeks?)",
    "bytes": rf"{NUMBER} (?:B|[KMGT]iB)",
    "Bps": rf"{NUMBER} (?:B|[kMGT]B)/s",
    "watt": rf"{NUMBER} (?:m|k)?W",
    "reqps": rf"{NUMBER}(?: K)? req/s",
    "percentunit": rf"{NUMBER}%",
    "short": rf"{NUMBER}(?: (?:K|Mil|Bil))?",
}
QUANTITIES = (
    (r"\b(?:changes|resets|count)\b", "short"),
    (r"histogram_quantile\(.*_seconds_bucket", "s"),
    (r"ratio_\w+\)* / ", "short"),
    (r":ratio_|cache_usage:max", "percentunit"),
    (r"_bytes:rate", "Bps"),
    (r"_bytes_per_second\b", "Bps"),
    (r"_watts\b", "watt"),
    (r"_requests:rate", "reqps"),
    (r"rate\(\S+_bytes_total", "Bps"),
    (r"rate\(\S+_cpu_seconds_total", "percentunit"),
    (r"rate\(\S*(?:requests_total|request_success_total)", "reqps"),
    (r"(?:_perc|_ratio)\b", "percentunit"),
    (r"^(?:\w+\()*\S+_seconds(?:\[|\)|$)", "s"),
    (r"^(?:\w+\()*\S+_bytes(?:\[|\)|$)", "bytes"),
)
"""Pattern of a query without its selectors, and its unit; the first that matches. Others are counts."""


def unit_of(expr: str) -> str:
    """The unit in which the values of a query should be drawn."""
    plain = SELECTOR.sub("", expr)
    return next((unit for pattern, unit in QUANTITIES if re.search(pattern, plain)), "short")


def is_written_in(unit: str, text: str) -> bool:
    """Whether a text at an axis, or of a figure, is a value of the unit."""
    return re.fullmatch(TEXTS[unit], text.strip()) is not None
