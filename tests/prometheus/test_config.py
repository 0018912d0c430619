"""A configuration that Prometheus does not take, or takes otherwise than meant, records nothing."""

from __future__ import annotations

import json
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
