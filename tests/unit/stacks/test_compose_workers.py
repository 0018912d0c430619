"""Load workers in containers must join where a run waits, with no more rights than its other containers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from kvchaos.cli.app import run as command_line
from kvchaos.planning.master_address import DEFAULT_HOST, DEFAULT_PORT
from kvchaos.stacks.compose.project import project_files

ROOT = Path(__file__).parents[3]
COMMON, WORKERS = project_files("workers")
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def services(path: Path) -> dict[str, Any]:
    """With the values that variables have when nobody sets them."""
    found: dict[str, Any] = yaml.safe_load(VARIABLE.sub(r"\2", path.read_text()))["services"]
    return found


def worker() -> dict[str, Any]:
    service: dict[str, Any]
    (service,) = services(WORKERS).values()
    return service


def test_a_worker_joins_where_a_run_waits_by_default() -> None:
    assert worker()["command"] == ["--master", f"{DEFAULT_HOST}:{DEFAULT_PORT}"]
    # The host's loopback is its own, and it opens no port.
    assert worker()["network_mode"] == "host"
    assert "ports" not in worker()


def test_a_worker_has_no_more_rights_than_the_containers_of_a_run() -> None:
    hardening = yaml.safe_load(VARIABLE.sub(r"\2", COMMON.read_text()))["x-hardened"]
    assert {"user", "read_only", "cap_drop", "security_opt", "restart"} <= hardening.keys()
    assert {name: worker()[name] for name in hardening} == hardening
    assert {"mem_limit", "pids_limit"} <= worker().keys()
    assert all(mount["read_only"] for mount in worker()["volumes"])


def test_worker_container_runs_the_checkout_code_and_a_known_command(capsys: Any) -> None:
    (code,) = worker()["volumes"]
    assert (WORKERS.parent / code["source"]).resolve() == ROOT
    recipe = (ROOT / worker()["build"]["dockerfile"]).read_text()
    assert f"WORKDIR {code['target']}\n" in recipe
    entry = next(line for line in recipe.splitlines() if line.startswith("ENTRYPOINT "))
    python, module, kvchaos, *command = yaml.safe_load(entry.removeprefix("ENTRYPOINT "))
    assert (python, module, kvchaos) == ("python", "-m", "kvchaos")
    assert command_line([*command, *worker()["command"], "--help"]) == 0
    assert "kvchaos worker" in capsys.readouterr().out
    copied = next(line for line in recipe.splitlines() if line.startswith("COPY "))
    assert all((ROOT / name).is_file() for name in shlex.split(copied)[1:-1])


def test_worker_count_comes_from_a_variable() -> None:
    assert worker()["deploy"]["replicas"] == 2
    assert "replicas: ${KVCHAOS_WORKERS:-2}\n" in WORKERS.read_text()
