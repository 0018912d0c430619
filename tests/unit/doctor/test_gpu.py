"""The look at a GPU machine: each thing that is missing gets a line of its own, with the way to mend it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from kvchaos.doctor import gpu
from kvchaos.doctor.check import GIB, Check, CheckState
from kvchaos.doctor.gpu import Card
from kvchaos.errors import UsageError
from kvchaos.servers.server_registry import server_folder, write_server
from tests.support.fake_server_runs import SERVER, register_fake

CARD = Card("NVIDIA L4", 23034, "550.54.15")
SMI = "name, memory.total [MiB], driver_version\nNVIDIA L4, 23034 MiB, 550.54.15\n"
OFFLINE = {"HF_HUB_OFFLINE": "1"}
ENGINE = {
    "ServerVersion": "27.1.1",
    "Runtimes": {"runc": {}, "nvidia": {}},
    "DockerRootDir": "/var/lib/docker",
}


def named(error: UsageError) -> list[str]:
    """The things that a message says are missing."""
    return [line.partition(":")[0] for line in str(error).splitlines()]


def test_nvidia_smi_output_is_read_card_by_card() -> None:
    assert gpu.parse_cards(SMI) == [CARD]
    assert gpu.parse_cards(SMI + "NVIDIA A100, 81920 MiB, 550.54.15\n")[1].memory_mib == 81920


@pytest.mark.parametrize("text", [None, "", "No devices were found\n", "name, memory\nX, [N/A], 1\n"])
def test_invalid_nvidia_smi_output_gives_no_cards(text: str | None) -> None:
    assert gpu.parse_cards(text) == []


@pytest.mark.parametrize("text", [None, "", "not json", "[]", '{"ServerErrors": ["cannot connect"]}'])
def test_an_engine_that_does_not_answer_is_no_engine(text: str | None) -> None:
    assert gpu.parse_info(text) is None


def test_an_engine_that_answers_is_read() -> None:
    assert gpu.parse_info(json.dumps(ENGINE)) == ENGINE


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (gpu.check_driver([]), CheckState.BAD),
        (gpu.check_driver([CARD]), CheckState.OK),
        (gpu.check_card([Card("small", 4096, "550")]), CheckState.BAD),
        (gpu.check_card([Card("small", 4096, "550"), CARD]), CheckState.OK),
        (gpu.check_engine(installed=False, info=None), CheckState.BAD),
        (gpu.check_engine(installed=True, info=None), CheckState.BAD),
        (gpu.check_engine(installed=True, info=ENGINE), CheckState.OK),
        (gpu.check_compose(None), CheckState.BAD),
        (gpu.check_compose("not a version"), CheckState.BAD),
        (gpu.check_compose("2.19.1\n"), CheckState.BAD),
        (gpu.check_compose("v2.26.1-4\n"), CheckState.OK),
        (gpu.check_compose("5.0.0"), CheckState.OK),
        (gpu.check_runtime({"Runtimes": {"runc": {}}}), CheckState.BAD),
        (gpu.check_runtime(ENGINE), CheckState.OK),
        (gpu.check_runtime({"DiscoveredDevices": [{"ID": "nvidia.com/gpu=0"}]}), CheckState.OK),
        (gpu.check_images(Path("/d"), None), CheckState.WARN),
        (gpu.check_images(Path("/d"), 5 * GIB), CheckState.WARN),
        (gpu.check_images(Path("/d"), 200 * GIB), CheckState.OK),
        (gpu.check_port(8000, free=False), CheckState.BAD),
        (gpu.check_port(8000, free=True), CheckState.OK),
    ],
)
def test_gpu_check_that_fails_a_run_is_bad_with_a_fix(check: Check, state: CheckState) -> None:
    assert check.state is state
    assert bool(check.fix) is (state is not CheckState.OK)


def test_a_model_is_a_folder_or_a_name(tmp_path: Path) -> None:
    folder, hub = tmp_path / "model", tmp_path / "hub"
    folder.mkdir()
    assert gpu.check_model(str(folder), hub, offline=False).state is CheckState.BAD
    (folder / "config.json").touch()
    assert gpu.check_model(str(folder), hub, offline=True).state is CheckState.OK
    assert gpu.check_model("Qwen/Qwen3-0.6B", hub, offline=True).state is CheckState.BAD
    assert "downloaded" in gpu.check_model("Qwen/Qwen3-0.6B", hub, offline=False).found
    (hub / "hub" / "models--Qwen--Qwen3-0.6B" / "snapshots").mkdir(parents=True)
    assert gpu.check_model("Qwen/Qwen3-0.6B", hub, offline=True).state is CheckState.OK


def test_each_missing_gpu_requirement_has_a_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as refused:
        gpu.require(gpu.examine(None, OFFLINE | {"HF_HOME": str(tmp_path)}))
    assert named(refused.value) == [gpu.DRIVER, gpu.ENGINE, gpu.COMPOSE, gpu.MODEL]


def test_local_gpu_check_covers_driver_build_and_model_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    register_fake(cache)
    with pytest.raises(UsageError) as refused:
        gpu.require(gpu.examine_local(SERVER, cache, None, OFFLINE | {"HF_HOME": str(tmp_path)}))
    assert named(refused.value) == [gpu.DRIVER, f"server {SERVER}", gpu.MODEL]


def test_a_cuda_build_on_a_machine_with_a_card_misses_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\nprintf '{SMI.encode('unicode_escape').decode()}'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    server = register_fake(cache)
    write_server(server_folder(SERVER, cache), server.model_copy(update={"platform": "cuda"}))
    gpu.require(gpu.examine_local(SERVER, cache, None, {}))


def test_used_port_is_detected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port: int = busy.getsockname()[1]
        (check,) = (check for check in gpu.examine(port, {}) if check.name == f"port {port}")
    assert check.state is CheckState.BAD
