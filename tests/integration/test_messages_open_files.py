"""What is said where too few files may be open."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.cli.app import run
from kvchaos.clientbench.measure import MeasureOptions, plan_for
from kvchaos.errors import UsageError
from kvchaos.planning import open_file_limits
from kvchaos.planning.open_file_limits import needs_of_client_bench
from kvchaos.planning.run_plan import write_plan
from loadtests import open_files
from loadtests.open_files import TooFewFiles
from tests.integration.test_open_files import limited
from tests.support.fake_server_runs import SERVER, register_fake, scenario, write_scenario


def test_joining_worker_checks_its_machine_file_limit(tmp_path: Path) -> None:
    plan = plan_for("http://127.0.0.1:1", MeasureOptions(workers=2, seconds=1.0, concurrency=(1,)))
    phase = plan.scenario.phases[0].model_copy(update={"concurrency": 800})
    wide = plan.scenario.model_copy(update={"phases": (phase,)})
    write_plan(plan.model_copy(update={"scenario": wide}), tmp_path)
    code = (
        "import sys; from pathlib import Path; from loadtests.distributed import joining_worker as worker; "
        "from history.reader import read_plan\n"
        "try: worker._allow_open_files(read_plan(Path(sys.argv[1])), 2)\n"
        "except worker.TooFewFiles as error: sys.exit(str(error))"
    )
    assert (
        "a load worker with 400 connections needs 528, the hard limit is 256"
        in limited(256, 256, "-c", code, str(tmp_path)).stderr
    )
    assert limited(256, 2048, "-c", code, str(tmp_path)).returncode == 0


def test_a_shortage_names_both_figures_and_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "raise_soft_limit", lambda least: 1024)
    open_files.require(1024, "the load")
    with pytest.raises(TooFewFiles) as refused:
        open_files.require(1628, "the load")
    line = str(refused.value)
    assert "the load needs 1,628, the hard limit is 1,024" in line
    assert "prlimit --pid $$ --nofile=1628:1628" in line
    assert "\n" not in line


def test_process_that_needs_most_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "raise_soft_limit", lambda least: 1024)
    with pytest.raises(UsageError, match=r"the mock server with 1,500 connections needs 1,628"):
        open_file_limits.raise_limit(needs_of_client_bench(1500, workers=2))


def test_run_above_the_file_limit_is_refused_before_the_start(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KVCHAOS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(open_files, "raise_soft_limit", lambda least: 1024)
    register_fake(cache)
    content = scenario(load=5000)
    content["phases"][1]["concurrency"] = 1500
    path = write_scenario(tmp_path / "many.yaml", content)
    assert run(["run", str(path), "--server", SERVER]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "kvchaos: open files: the server with 1,500 connections needs 1,756, the hard limit"
    )
    assert not (tmp_path / "runs").exists()


def test_the_lean_client_is_refused_in_one_line_where_the_hard_limit_is_too_low(cache: Path) -> None:
    arguments = ("client-bench", "--client", "lean", "--concurrency", "300", "--seconds", "3")
    refused = limited(256, 256, "-m", "kvchaos", *arguments)
    assert refused.returncode == 3
    (line,) = refused.stderr.splitlines()
    assert "needs 428, the hard limit is 256" in line
