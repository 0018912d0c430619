"""What is said of a damaged line of scrapes."""

from __future__ import annotations

import pytest

from history.metrics import MetricLog
from history.records import ScrapeLine
from tests.unit.history.test_history_metrics import A, line


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(2, {1: 1.0}), "line 2: series 1 was never introduced"),
        (line(2, {-1: 1.0}), "line 2: series -1 was never introduced"),
        (line(2, {2**64: 1.0}), "line 2: series 18446744073709551616 was never introduced"),
        (line(2, gone=(1,)), "line 2: series 1 was never introduced"),
        (line(2, {0: "inf"}), "line 2: not a value: 'inf'"),
        (line(2, new=("no series {",)), "line 2: "),
        (line(2, new=("# a comment",)), "line 2: not a series name: '# a comment'"),
        (line(2, new=("x{,\u2028=\\''{E}Y",)), "line 2: not a series name: "),
        (line(2, new=(A,)), "line 2: series .* is introduced twice"),
        (line(0), "line 2: the scrape began before the one on the line above"),
        (
            line(0, error="TimeoutError: timed out"),
            "line 2: the scrape began before the one on the line above",
        ),
    ],
)
def test_impossible_metric_line_is_refused_with_its_number(bad: ScrapeLine, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetricLog.from_lines([line(1, {0: 1.0}, new=(A,)), bad])
