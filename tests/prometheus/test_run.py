"""Whole runs with a real Prometheus, against the fake server: nothing is lost, and nothing is left."""

from __future__ import annotations

import io
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from history import layout
from history.events import LeakProbe, PrometheusRead
from history.reader import read_history
from kvchaos.campaign.campaign import run_one
from kvchaos.stacks.orphans import end_and_remove, find_orphans
from oracles import metrics_crosscheck
from tests.prometheus.stored_prometheus import reopened
from tests.support.fake_server_runs import Bench, finished, members, scenario, wait_for
from tests.support.oracle_results import gap_kinds

SLOW = ("--fake-token-s", "0.05")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that went well."""
    bench = Bench(tmp_path_factory.mktemp("run"))
    request = replace(bench.request(scenario(*SLOW, load=40)), prometheus=True)
    run_dir, interrupted = run_one(request, bench.workspace(), Console(file=io.StringIO()))
    assert not interrupted
    assert list(bench.state_folder.iterdir()) == []
    return run_dir


@pytest.mark.prometheus
def test_the_suite_and_prometheus_scraped_the_run_to_its_end(run_dir: Path) -> None:
    history = read_history(run_dir)
    result = metrics_crosscheck.judge(history)
    assert (result.verdict, result.violations) == ("pass", 0), result.summary
    (leak_probe,) = history.events_of(LeakProbe)
    assert history.prometheus.times_ns[-1] > leak_probe.t_ns


@pytest.mark.prometheus
def test_plan_records_the_prometheus_and_its_command(run_dir: Path) -> None:
    plan = read_history(run_dir).plan.prometheus
    assert plan is not None
    assert str(run_dir / layout.PROMETHEUS_FOLDER / "prometheus.yml") in " ".join(plan.command)


@pytest.mark.prometheus
def test_suite_metrics_in_prometheus_match_the_records(run_dir: Path, tmp_path: Path) -> None:
    history = read_history(run_dir)
    sent = [record for record in history.requests if record.phase != "probe"]
    end_s = history.events_of(PrometheusRead)[0].t_ns / 1e9
    with reopened(run_dir, tmp_path) as prometheus:

        def value(query: str) -> dict[str, float]:
            found = prometheus.custom_query(query, params={"time": end_s})
            return {one["metric"].get("phase", ""): float(one["value"][1]) for one in found}

        ended = value('sum by (phase) (kvchaos_requests_total{outcome="ok"})')
        ttfts = value("sum by (phase) (kvchaos_ttft_seconds_count)")
        tokens = value("sum(kvchaos_tokens_total)")
        phases = value("max_over_time(kvchaos_phase_active[5m])")
    assert ended == ttfts == Counter(record.phase for record in sent)
    assert tokens[""] == sum(len(record.token_ids) for record in sent)
    # A phase of three requests is over before it is scraped.
    assert phases["load"] == 1
    assert set(phases) == {"golden", "load", "fresh"}


@pytest.mark.prometheus
def test_prometheus_killed_in_a_run_keeps_its_earlier_samples(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    process = bench.start(scenario(*SLOW, load=160), "--prometheus")
    bench.wait_for_event("phase_start", "load")
    os.kill(_prometheus(bench), signal.SIGKILL)
    killed_ns = time.time_ns()
    code, out, err = finished(process)
    # It did not see enough of the run, and nothing that the suite saw otherwise.
    assert code == 2, out + err
    history = read_history(bench.run_dir())
    result = metrics_crosscheck.judge(history)
    assert (result.verdict, result.violations) == ("unknown", 0)
    assert gap_kinds(result) == ["metrics-crosscheck/too-few-scrapes"]
    assert history.prometheus.times_ns[0] < killed_ns
    assert list(bench.state_folder.iterdir()) == []


@pytest.mark.prometheus
def test_clean_after_a_conductor_kill_ends_prometheus(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    process = bench.start(scenario(*SLOW, load=400), "--prometheus")
    bench.wait_for_event("phase_start", "load")
    leader = _prometheus(bench)
    process.kill()
    process.communicate()
    assert members({leader}) == {leader}
    (leftover,) = find_orphans(bench.state_folder)
    cleaned = end_and_remove(leftover)
    assert any(f"prometheus {leader} " in line for line in cleaned.ended)
    assert cleaned.remaining == ()
    wait_for(lambda: not members({leader}))


def test_missing_prometheus_is_one_line_before_the_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"KVCHAOS_PROMETHEUS": str(tmp_path / "nowhere")})
    code, out, err = finished(bench.start(scenario(), "--prometheus"))
    assert (code, out) == (3, "")
    assert err.startswith(f"kvchaos: KVCHAOS_PROMETHEUS: {tmp_path / 'nowhere'} ")
    assert len(err.splitlines()) == 1
    assert not bench.runs.exists()


def _prometheus(bench: Bench) -> int:
    """Process id of the run's Prometheus."""
    (group,) = (group for group in bench.record().groups if group.what == "prometheus")
    return group.leader
