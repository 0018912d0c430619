"""What is read of a real Prometheus must be what it saw, scrape by scrape, whatever befell it meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_api_client import PrometheusConnect

from history import layout
from history.metrics import MetricLog
from history.plan import PrometheusPlan
from kvchaos.errors import UsageError
from kvchaos.prometheus import queries
from kvchaos.prometheus.local_prometheus import LocalPrometheus, plan_prometheus
from kvchaos.prometheus.program import ScrapeTargets, write_config
from kvchaos.prometheus.queries import PrometheusClient, Unreachable, read_scrapes
from kvchaos.stacks.local_stack import choose_port
from kvchaos.stacks.process_registry import ProcessRegistry
from tests.prometheus.conftest import Target, serving
from tests.support.fake_server_runs import wait_for

pytestmark = pytest.mark.prometheus

RUN = "run-1"
QUERIED = "vllm:asked_total"
NS_PER_S = 10**9


@dataclass
class Watched:
    """A Prometheus whose server failed for a while, and that was killed and started again."""

    url: str
    client: PrometheusClient
    began_s: int
    killed_ns: int
    target: Target

    def log(self) -> MetricLog:
        lines = read_scrapes(self.client, RUN, self.began_s, int(time.time()) + 1)
        return MetricLog.from_lines(lines)

    def wait_for(self, scrapes_more: int) -> None:
        """Until the server was asked so many times more."""
        wanted, deadline = self.target.scrapes + scrapes_more, time.monotonic() + 60
        while self.target.scrapes < wanted:
            assert time.monotonic() < deadline, "Prometheus does not scrape"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("prometheus")
    plan = plan_prometheus(folder)
    record = ProcessRegistry(folder / "state", run_id=RUN, run_dir=folder, control_dir=folder)
    prometheus = LocalPrometheus(plan, folder, record)
    with serving() as target:
        targets = ScrapeTargets(server=target.address, suite=f"127.0.0.1:{choose_port(None)}")
        write_config(folder / layout.PROMETHEUS_FOLDER, RUN, targets)
        found = Watched(plan.url, PrometheusClient(plan.url), int(time.time()), 0, target)
        try:
            _live(prometheus, found)
            yield found
        finally:
            prometheus.stop()
            record.close()
            found.client.close()
    assert not list((folder / "state").iterdir())


def _live(prometheus: LocalPrometheus, watched: Watched) -> None:
    prometheus.start()
    watched.wait_for(4)
    watched.target.broken = True
    time.sleep(2.5)
    watched.target.broken = False
    watched.wait_for(2)
    assert prometheus.pid is not None
    os.kill(prometheus.pid, signal.SIGKILL)
    watched.killed_ns = time.time_ns()
    prometheus.stop()
    prometheus.start()
    watched.wait_for(3)
    # It writes a scrape down a moment after it was answered.
    watched.wait_for(1)


def test_every_scrape_is_read_once_with_its_served_value(watched: Watched) -> None:
    log = watched.log()
    (series,) = log.find(QUERIED)
    values = [series.value(scrape) for scrape in range(len(log))]
    # All that were asked for, but for the one that was under way when Prometheus was killed.
    assert values == sorted({value for value in values if value is not None})
    assert len(values) >= 9


def test_labels_added_by_prometheus_are_removed(watched: Watched) -> None:
    (series,) = watched.log().find(QUERIED)
    assert series.labels == {"engine": "0", "model_name": "tiny"}


def test_each_scrape_carries_the_server_incarnation(watched: Watched) -> None:
    assert set(watched.log().incarnations) == {1700000000.5}


def test_created_series_are_left_out_and_nan_values_are_kept(watched: Watched) -> None:
    metrics = {series.metric for series in watched.log()}
    assert metrics == {"process_start_time_seconds", QUERIED, "vllm:broken_sum"}


def test_failed_scrapes_are_marked(watched: Watched) -> None:
    assert {failure.error for failure in watched.log().failures} == {queries.FAILED}


def test_samples_before_a_kill_and_the_gap_are_kept(watched: Watched) -> None:
    times = watched.log().times_ns
    before = [t_ns for t_ns in times if t_ns < watched.killed_ns]
    assert len(before) >= 5
    assert times[len(before)] - before[-1] > 2 * NS_PER_S


def test_no_scrape_is_lost_or_duplicated_at_a_query_window_boundary(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(read_scrapes(watched.client, RUN, watched.began_s, int(time.time())))
    end_s = whole[-1].t_ns // NS_PER_S
    wanted = [line for line in whole if line.t_ns <= end_s * NS_PER_S]
    for window_s in (1, 2, 3):
        monkeypatch.setattr(queries, "WINDOW_S", window_s)
        assert list(read_scrapes(watched.client, RUN, watched.began_s, end_s)) == wanted


def test_series_of_other_runs_in_prometheus_are_not_read(watched: Watched) -> None:
    assert list(read_scrapes(watched.client, "run-2", watched.began_s, int(time.time()) + 1)) == []
    assert watched.client.last_scrape_ms("run-2") is None
    assert not watched.client.is_up("run-2")


def test_the_last_scrape_is_a_second_old_at_most(watched: Watched) -> None:
    last_ms = watched.client.last_scrape_ms(RUN)
    assert last_ms is not None
    assert time.time() - last_ms / 1000 < 5
    assert watched.client.is_up(RUN)


def test_last_scrape_wait_covers_the_slower_target(watched: Watched) -> None:
    """Else the end of a run is read before what the suite says of it has been scraped."""
    last: set[str] = set()
    deadline = time.monotonic() + 30
    with closing(PrometheusConnect(watched.url)) as prometheus:

        def each_ms() -> dict[str, int]:
            found = prometheus.custom_query(f'timestamp(up{{run="{RUN}"}})')
            return {one["metric"]["job"]: round(float(one["value"][1]) * 1000) for one in found}

        while last < {"server", "suite"}:
            assert time.monotonic() < deadline, f"only {last} was ever scraped last"
            before, reported_ms, after = each_ms(), watched.client.last_scrape_ms(RUN), each_ms()
            if before == after:
                assert reported_ms == min(before.values())
                last.add(max(before, key=before.__getitem__))


def test_unreachable_prometheus_is_an_error(watched: Watched) -> None:
    lost = PrometheusClient(f"http://127.0.0.1:{choose_port(None)}")
    with pytest.raises(Unreachable, match="ConnectionError"):
        list(read_scrapes(lost, RUN, watched.began_s, int(time.time())))
    lost.close()


def test_prometheus_error_response_is_an_error(watched: Watched) -> None:
    with pytest.raises(Unreachable, match="400"):
        watched.client.last_scrape_ms('"}}')


def test_prometheus_that_fails_to_start_shows_its_last_output(tmp_path: Path) -> None:
    plan = plan_prometheus(tmp_path)
    record = ProcessRegistry(tmp_path / "state", run_id=RUN, run_dir=tmp_path, control_dir=tmp_path)
    (tmp_path / layout.PROMETHEUS_FOLDER).mkdir()
    prometheus = LocalPrometheus(plan, tmp_path, record)
    prometheus.start()
    try:
        # Not by its state: of a process with threads the first one may be over while others end.
        wait_for(lambda: not prometheus.runs())
        with pytest.raises(UsageError, match=rf"code 2; .*(?i:{os.strerror(errno.ENOENT)})"):
            prometheus.check()
    finally:
        prometheus.stop()
        record.close()


def test_a_plan_names_the_program_its_version_and_loopback_alone(tmp_path: Path) -> None:
    plan: PrometheusPlan = plan_prometheus(tmp_path)
    assert plan.version[0].isdigit()
    assert plan.url.startswith("http://127.0.0.1:")
    assert f"--web.listen-address={plan.url.removeprefix('http://')}" in plan.command
