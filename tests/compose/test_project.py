"""The project that would be brought up must be right where no GPU and no engine can show it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvchaos.paths import cache_folder
from kvchaos.servers.served_model import HUB_MODEL_TOKEN_BYTES
from kvchaos.servers.server_registry import find_server
from tests.server.bench import NEW, Bench, need, own_cache
from tests.support.free_port import free_port

pytestmark = pytest.mark.compose
ACCEPT = Path(__file__).with_name("accept_arguments.py")
EXACT_TAG = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+(-[0-9a-f]{12})?")


def project(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[str, dict[str, Any]]:
    """The server's command line and the project, as printed where there is no engine."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    planned = Bench(folder, own_cache(folder)).run("plan", *options, "--server", NEW)
    assert (planned.code, planned.err) == (0, "")
    command = planned.out.splitlines()[1].removeprefix("# ")
    content: dict[str, Any] = yaml.safe_load(planned.out)
    return command, content


def understood(command: list[str]) -> dict[str, Any]:
    """What the real argument parser of the release makes of a server's command."""
    assert command[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    python = find_server(need(NEW), cache_folder()).python
    environment = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, ACCEPT],
        input=json.dumps(command[3:]),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_gpu_command_and_compose_project_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed, content = project(tmp_path, monkeypatch, "evict-storm", "--stack", "compose-gpu", "--grafana")
    server = content["services"]["server"]
    assert shlex.split(printed) == server["command"]
    assert understood(server["command"]) == {
        "model": "Qwen/Qwen3-0.6B",
        "host": "127.0.0.1",
        "blocks": 40,
        "max_model_len": 768,
        "eager": True,
        "tensor_parallel": 1,
        "memory_share": 0.8,
        "connector": "ChaosConnector",
        # 3 MiB of the tiny model, in which a token takes 1 KiB.
        "tier_bytes": 3 * 1024 * HUB_MODEL_TOKEN_BYTES,
    }
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}
    assert server["image"] == f"vllm/vllm-openai:v{NEW}"
    assert server["ulimits"]["memlock"] == -1
    assert int(server["shm_size"]) > 8 * 2**30


def test_commands_and_projects_of_large_scales_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--stack", "compose-gpu", "--card-gib", "79", "--cards", "4", "--host-gib", "512")
    _, content = project(tmp_path, monkeypatch, "evict-storm", *options, "--scale", "node")
    server = content["services"]["server"]
    accepted = understood(server["command"])
    assert (accepted["eager"], accepted["tensor_parallel"]) == (False, 4)
    assert accepted["blocks"] > 2_000
    assert accepted["max_model_len"] >= 8_192
    assert accepted["tier_bytes"] > 10 * 2**30
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"]) == ("nvidia", -1)
    assert int(server["mem_limit"]) > accepted["tier_bytes"] < int(server["shm_size"])


@pytest.mark.parametrize("stack", ["compose-cpu", "compose-gpu"])
def test_containers_bind_loopback_only_and_drop_privileges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: str
) -> None:
    _, content = project(tmp_path, monkeypatch, "baseline-offload", "--stack", stack, "--grafana")
    services = content["services"]
    assert set(services) == {"server", "prometheus", "grafana"}
    address = ["--host", "127.0.0.1"]
    command = services["server"]["command"]
    assert command[command.index("--host") :][:2] == address
    assert any(
        argument.startswith("--web.listen-address=127.0.0.1:")
        for argument in services["prometheus"]["command"]
    )
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    for service in services.values():
        assert service["network_mode"] == "host"
        assert "ports" not in service
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == f"{os.getuid()}:{os.getgid()}"
        assert service["restart"] == "no"
        assert {"mem_limit", "pids_limit", "healthcheck"} <= service.keys()
        assert EXACT_TAG.fullmatch(service["image"]), service["image"]
    writable = [mount["target"] for mount in services["server"]["volumes"] if not mount.get("read_only")]
    hub = ["/kvchaos/hub"] if stack == "compose-gpu" else []
    assert writable == ["/kvchaos/control", "/kvchaos/server.log", *hub]


def test_cpu_project_differs_from_the_gpu_project_in_the_server_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVCHAOS_PROMETHEUS_PORT", str(free_port()))
    twins = []
    for stack in ("compose-cpu", "compose-gpu"):
        (tmp_path / stack).mkdir()
        _, content = project(tmp_path / stack, monkeypatch, "aborts", "--stack", stack)
        twins.append(content["services"])
    cpu, gpu = twins
    # Labels and folders name the run.
    ours = {"labels", "volumes"}
    one, other = ({k: v for k, v in twin["prometheus"].items() if k not in ours} for twin in twins)
    assert one == other
    # A quarter of a processor is left.
    left_us = (os.cpu_count() or 1) * cpu["server"]["cpu_period"] - cpu["server"]["cpu_quota"]
    assert left_us == cpu["server"]["cpu_period"] / 4
    assert "cpu_quota" not in gpu["server"]
    same = ("entrypoint", "init", "network_mode", "depends_on", "read_only", "tmpfs", "stop_grace_period")
    assert {name: cpu["server"][name] for name in same} == {name: gpu["server"][name] for name in same}
