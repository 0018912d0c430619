"""A stored run as OpenMetrics: labels of a target, one sample a second, marks of failed scrapes, an end."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest

from history.reader import History
from kvchaos.prometheus.recorded_series import MOST_SAMPLES, openmetrics_lines, step_s
from tests.support.histories import clean_run
from tests.support.synthetic_records import make_plan

NS_PER_S = 1_000_000_000


@pytest.fixture(scope="module")
def history() -> History:
    return clean_run(make_plan(roles=("golden", "load"))).history()


def times_by_series(history: History) -> dict[str, list[float]]:
    found = defaultdict(list)
    for line in openmetrics_lines(history):
        if not line.startswith("#"):
            series, _, rest = line.partition("} ")
            found[series].append(float(rest.split()[1]))
    return found


def test_each_series_has_the_labels_of_its_target(history: History) -> None:
    for series in times_by_series(history):
        assert f'run="{history.plan.run_id}"' in series
        job = "suite" if series.startswith("kvchaos_") else "server"
        assert f'job="{job}",instance="{job}"' in series


def test_samples_before_the_last_are_in_order_and_not_closer_than_the_step(history: History) -> None:
    for series, times in times_by_series(history).items():
        assert times == sorted(set(times))
        if not series.startswith("up{"):
            assert all(later - earlier >= 0.999 for earlier, later in pairwise(times[:-1]))


def test_text_ends_as_openmetrics_must(history: History) -> None:
    assert list(openmetrics_lines(history))[-1] == "# EOF\n"


def test_failed_scrape_is_down() -> None:
    run = clean_run()
    run.scrapes[3].failed = True
    lines = [line for line in openmetrics_lines(run.history()) if line.startswith("up{")]
    assert [line.split()[-2] for line in lines].count("0.0") == 1
    assert len(lines) == len(run.scrapes)


def test_suite_has_samples_while_the_server_does_not_answer() -> None:
    run = clean_run()
    for scrape in run.scrapes[-5:]:
        scrape.failed = True
    times = times_by_series(run.history())
    last = {series: found[-1] for series, found in times.items()}
    (down,) = (at_s for series, at_s in last.items() if series.startswith("up{"))
    assert {at_s for series, at_s in last.items() if 'job="suite"' in series} == {down}
    assert all(at_s < down for series, at_s in last.items() if series.startswith("vllm:"))


def test_long_run_has_a_larger_step(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    assert step_s(history) == 1.0
    day = 86_400
    times = history.metrics.times_ns
    monkeypatch.setattr(history.metrics, "times_ns", [times[0], times[0] + day * NS_PER_S])
    assert step_s(history) == day / MOST_SAMPLES
