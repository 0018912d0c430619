"""A configuration that Prometheus does not take, or takes otherwise than meant, makes a blind witness."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from kvchaos.witness.config import RULES, SOURCE, Targets, write_config

TARGETS = Targets(server="127.0.0.1:8000", suite="127.0.0.1:8001")


def test_prometheus_takes_the_configuration_that_is_written_for_a_run(tmp_path: Path, promtool: Path) -> None:
    path = write_config(tmp_path / "prometheus", "run-1", TARGETS)
    done = subprocess.run([promtool, "check", "config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_job_has_the_target_and_the_name_of_the_run(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "prometheus", "run-1", TARGETS).parent
    for job, target in (("server", TARGETS.server), ("suite", TARGETS.suite)):
        told = json.loads((folder / f"{job}.json").read_text())
        assert told == [{"targets": [target], "labels": {"run": "run-1"}}]


def test_it_may_be_written_again_for_the_next_run(tmp_path: Path) -> None:
    write_config(tmp_path / "prometheus", "run-1", TARGETS)
    folder = write_config(tmp_path / "prometheus", "run-2", TARGETS).parent
    assert "run-2" in (folder / "server.json").read_text()


def test_all_are_scraped_once_a_second(tmp_path: Path) -> None:
    config = yaml.safe_load((SOURCE / "prometheus.yml").read_text())
    assert config["global"]["scrape_interval"] == "1s"
    assert {job["job_name"] for job in config["scrape_configs"]} == {"server", "suite"}
    assert not any("scrape_interval" in job for job in config["scrape_configs"])
    assert config["rule_files"] == [RULES]
