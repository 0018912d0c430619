"""What is said where a run on a GPU cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.cli.app import run
from kvchaos.doctor import gpu
from kvchaos.errors import UsageError
from tests.support.fake_server_runs import SERVER, register_fake


def test_unknown_server_is_listed_as_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as refused:
        gpu.require(gpu.examine_local("nightly", cache, None, {}))
    assert "server: no server named nightly; list all with: kvchaos server list" in str(refused.value)


def test_gpu_run_checks_the_machine_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["run", "baseline-offload", "--stack", "compose-gpu"]) == 3
    shown = capsys.readouterr().err
    assert f"{gpu.DRIVER}: nvidia-smi lists no GPU; install the driver" in shown
    assert f"{gpu.ENGINE}: no docker command; install Docker Engine" in shown


def test_a_cpu_build_is_refused_before_a_run_on_a_gpu_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KVCHAOS_RUNS", str(tmp_path / "runs"))
    register_fake(cache)
    assert run(["run", "--gpu", "--stack", "local", "--server", SERVER, "--all"]) == 3
    driver, build = capsys.readouterr().err.splitlines()
    assert driver.startswith(f"kvchaos: {gpu.DRIVER}: nvidia-smi lists no GPU; install the driver")
    assert build.startswith(f"server {SERVER}: is a build for the CPU (torch none); add a CUDA build with: ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("stack", [["compose-cpu"], ["attach", "--url", "http://127.0.0.1:1"]])
def test_gpu_option_without_a_gpu_stack_is_a_usage_error(
    stack: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "--gpu", "baseline-offload", "--stack", *stack]) == 3
    assert "--gpu needs --stack local or compose-gpu" in capsys.readouterr().err
