"""`kvchaos bench`, wrongly used: one line that says what to do, exit code 3, and nothing started or left."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.cli.app import run as command_line
from tests.support.fake_server_runs import SERVER, register_fake, scenario, write_scenario


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    monkeypatch.setenv("KVCHAOS_RUNS", str(folder))
    return folder


@pytest.fixture
def small(tmp_path: Path, cache: Path) -> str:
    """The path of a good scenario; the fake server is registered."""
    register_fake(cache)
    return str(write_scenario(tmp_path / "small.yaml", scenario()))


@pytest.mark.parametrize(
    ("verb", "options", "problem"),
    [
        ("sweep", ["--rates", "4,2"], "--rates 4,2: give ascending rates above 0"),
        ("sweep", ["--rates", "0,2"], "--rates 0,2: give ascending rates above 0"),
        ("sweep", ["--rates", "nan"], "--rates nan: give ascending rates above 0"),
        ("sweep", ["--rates", "fast"], "--rates fast: write numbers with commas between, such as 1,2,4"),
        ("sweep", ["--phase", "noon"], "no phase noon; there are golden, load, fresh"),
        ("sweep", ["--phase", "golden", "--seconds", "0"], "--seconds"),
        ("sweep", ["--stack", "attach"], "--stack attach needs --url"),
        ("sweep", ["--url", "http://127.0.0.1:8000"], "--url needs --stack attach"),
        ("slo", [], "give at least one bound: --ttft-ms, --tpot-ms or --e2el-ms"),
        ("slo", ["--ttft-ms", "0"], "--ttft-ms"),
        ("slo", ["--ttft-ms", "9", "--slo-fraction", "1.5"], "--slo-fraction"),
        ("slo", ["--ttft-ms", "9", "--low", "5", "--high", "5"], "--low 5 is not below --high 5"),
        ("compare", [], "give the two sides, such as --a offload=off --b offload=on"),
        ("compare", ["--a", "gpu_blocks=50"], "give the two sides, such as --a offload=off --b offload=on"),
        (
            "compare",
            ["--a", "offload=on", "--b", "offload=on"],
            "both sides are offload=on; give two that differ",
        ),
        ("compare", ["--a", "offload=on", "--b", "colour=red"], "write name=value, with a name of server"),
        (
            "compare",
            ["--a", "cpu_tier_mb=3", "--b", "offload=on"],
            "is named cpu_offload_mib now",
        ),
        ("compare", ["--a", "offload=on", "--b", "server=nightly"], "no server named nightly"),
        ("compare", ["--a", "gpu_blocks=50", "--b", "gpu_blocks=4"], "can never fit"),
    ],
)
def test_usage_error_is_one_line_and_starts_nothing(
    cache: Path,
    runs: Path,
    small: str,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    options: list[str],
    problem: str,
) -> None:
    assert command_line(["bench", verb, small, "--server", SERVER, *options]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("kvchaos: ")
    assert problem in line
    assert not list(cache.glob("state/*"))
    assert not runs.exists()


@pytest.mark.parametrize("content", [None, "{}", '{"v": 2}', '{"v": 3}', '{"v": 4}', "nonsense"])
def test_folder_without_measurements_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        (tmp_path / "bench.json").write_text(content)
    assert command_line(["bench", "show", str(tmp_path)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kvchaos: {tmp_path / 'bench.json'}: ")


def test_missing_runs_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["bench", "runs", str(tmp_path / "a"), str(tmp_path / "b")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"kvchaos: {tmp_path / 'a'}: no such run directory"
