"""The time to look at first: around the first finding of the first cause, within the run."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from history.reader import History
from history.verdict import SERVER, Cause, Finding, OracleResult, RunVerdict, Verdict, metric
from kvchaos.judging.judge_run import judge
from kvchaos.triage.finding_window import AROUND_S, FindingWindow, finding_window
from tests.support.histories import clean_run

NS_PER_S = 1_000_000_000
DIED, LEAK = "server-alive/died", "drained/blocks-leaked"


@pytest.fixture(scope="module")
def history() -> History:
    return clean_run().history()


def window_of(history: History, causes: list[Cause], *findings: Finding) -> FindingWindow:
    result = OracleResult(oracle="x", verdict=Verdict.FAIL, summary="", findings=list(findings))
    return finding_window(history, replace(judge(history), results=[result], causes=causes))


def cause(rule: str, *, unexplained: bool) -> Cause:
    return Cause(rule=rule, signature=f"{rule}: x", violations=1, unexplained=unexplained)


def bounds(history: History) -> tuple[int, int]:
    times = [event.t_ns for event in history.events]
    return min(times), max(times)


def test_window_is_around_the_earliest_finding_of_the_unexplained_cause(history: History) -> None:
    start, end = bounds(history)
    middle = (start + end) // 2
    found = window_of(
        history,
        [cause(LEAK, unexplained=False), cause(DIED, unexplained=True)],
        Finding(rule=LEAK, subject=SERVER, text="", t_ns=start),
        Finding(rule=DIED, subject=SERVER, text="", t_ns=middle + NS_PER_S),
        Finding(rule=DIED, subject=SERVER, text="", t_ns=middle),
    )
    around = AROUND_S * NS_PER_S
    assert found.rule == DIED
    assert (found.from_ns, found.to_ns) == (max(start, middle - around), min(end, middle + around))


def test_metric_of_the_finding_is_drawn_at_its_last_sample(history: History) -> None:
    start, end = bounds(history)
    key = "vllm:kv_cache_usage_perc"
    finding = Finding(rule=LEAK, subject=metric(key), text="", samples=[(start, 0.0), (end, 0.5)])
    found = window_of(history, [cause(LEAK, unexplained=True)], finding)
    assert (found.metric, found.to_ns) == (key, end)


def test_run_without_a_finding_is_shown_whole(history: History) -> None:
    verdict: RunVerdict = judge(history)
    found = finding_window(history, verdict)
    assert found.rule is None
    assert (found.from_ns, found.to_ns) == bounds(history)


def test_links_have_the_window(history: History) -> None:
    window = FindingWindow(DIED, "up", 10 * NS_PER_S, 40 * NS_PER_S)
    grafana = parse_qs(urlsplit(window.grafana_url("http://127.0.0.1:3000/", "run-1")).query)
    assert grafana == {"var-run": ["run-1"], "from": ["10000"], "to": ["40000"]}
    graph = parse_qs(urlsplit(window.prometheus_url("http://127.0.0.1:9090")).query)
    assert graph["g0.range_input"] == ["30s"]
    assert graph["g0.end_input"] == ["1970-01-01 00:00:40"]
