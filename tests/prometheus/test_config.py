"""A configuration that Prometheus does not take, or takes otherwise than meant, records nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kvchaos.prometheus.program import RULES, SOURCE, ScrapeTargets, write_config

TARGETS = ScrapeTargets(server="127.0.0.1:8000", suite="127.0.0.1:8001")


@pytest.mark.prometheus
def test_prometheus_takes_the_configuration_that_is_written_for_a_run(tmp_path: Path, promtool: Path) -> None:
    path = write_config(tmp_path / "prometheus", "run-1", TARGETS)
    done = subprocess.run([promtool, "check", "config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path, promtool: Path) -> None:
    shutil.copyfile(SOURCE / RULES, tmp_path / RULES)
    cases = Path(shutil.copy(Path(__file__).with_name("rules.test.yml"), tmp_path))
    done = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    rules = yaml.safe_load((SOURCE / RULES).read_text())["groups"]
    alerts = {rule["alert"] for group in rules for rule in group["rules"]}
    tests = yaml.safe_load(Path(__file__).with_name("rules.test.yml").read_text())["tests"]
    tried = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in tried if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in tried if not case["exp_alerts"]} == alerts


def test_each_scrape_job_has_target_and_run_label(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "prometheus", "run-1", TARGETS).parent
    for job, target in (("server", TARGETS.server), ("suite", TARGETS.suite)):
        written = json.loads((folder / f"{job}.json").read_text())
        assert written == [{"targets": [target], "labels": {"run": "run-1"}}]


def test_configuration_may_be_rewritten_for_the_next_run(tmp_path: Path) -> None:
    write_config(tmp_path / "prometheus", "run-1", TARGETS)
    folder = write_config(tmp_path / "prometheus", "run-2", TARGETS).parent
    assert "run-2" in (folder / "server.json").read_text()


def test_all_targets_are_scraped_once_a_second(tmp_path: Path) -> None:
    config = yaml.safe_load((SOURCE / "prometheus.yml").read_text())
    assert config["global"]["scrape_interval"] == "1s"
    assert {job["job_name"] for job in config["scrape_configs"]} == {"server", "suite"}
    assert not any("scrape_interval" in job for job in config["scrape_configs"])
    assert config["rule_files"] == [RULES]
