"""An account's soft limit of 1,024 open files must not end a run that the hard limit allows."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from history import layout
from history.lines import read_lines
from history.plan import Scenario
from history.records import ClientRecord, RequestRecord
from kvchaos import connections
from kvchaos.cli.app import run
from kvchaos.clientbench.measure import Wish, plan_for
from kvchaos.connections import of_client_bench, of_run
from kvchaos.errors import UsageError
from kvchaos.planning import write_plan
from loadtests import open_files
from loadtests.open_files import ENOUGH, SPARE, TooFewFiles, target
from tests.unit.conducting import SERVER, register_fake, scenario, write_scenario

ROOT = Path(__file__).parents[2]
FREE = resource.RLIM_INFINITY
STORM = {"id": "storm", "kind": "abort_storm", "trigger": {"nth": [3]}, "params": {"clients": 700}}
CUT = {"id": "cut", "kind": "network_cut", "trigger": {"nth": [3]}}


def limited(soft: int, hard: int, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command in a process with these limits."""
    code = (
        f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("soft", "hard", "least", "wanted"),
    [
        (1024, 20_000, 0, 20_000),
        (1024, 1024, 5000, 1024),
        (1024, FREE, 0, ENOUGH),
        (1024, FREE, 100_000, 100_000),
        (1024, 524_288, 0, ENOUGH),
        (200_000, 524_288, 0, 200_000),
        (FREE, FREE, 100_000, FREE),
    ],
)
def test_the_soft_limit_rises_as_far_as_the_hard_one_allows_and_never_falls(
    soft: int, hard: int, least: int, wanted: int
) -> None:
    assert target(soft, hard, least) == wanted


def test_a_process_raises_its_own_limit_and_that_of_its_children() -> None:
    code = (
        "import resource, subprocess, sys; from loadtests.open_files import raise_soft_limit; "
        "reached = raise_soft_limit(); sys.stdout.write(f'{reached} ' + subprocess.check_output("
        "['sh', '-c', 'ulimit -Sn; ulimit -Hn'], text=True))"
    )
    assert limited(256, 2048, "-c", code).stdout.split() == ["2048", "2048", "2048"]


@pytest.mark.parametrize("module", ["loadtests.worker", "loadtests.distributed.master", "loadtests.mock"])
def test_processes_with_many_connections_raise_their_limit(module: str) -> None:
    """They are also started by hand, without a command that has raised it before."""
    code = (
        f"import resource, sys, {module} as module; entry = getattr(module, '__main__', module)\n"
        "entry.raise_soft_limit = lambda: sys.exit(77)\n"
        "entry.main(sys.argv[1:])"
    )
    if module == "loadtests.mock":
        code = code.replace("loadtests.mock as", "loadtests.mock.__main__ as")
    words = {
        "loadtests.worker": "--plan p --worker 0 --of 1 --out o",
        "loadtests.distributed.master": "--plan p --workers 1 --host 127.0.0.1 --port 1",
        "loadtests.mock": "--log l",
    }
    assert limited(1024, 1024, "-c", code, *words[module].split()).returncode == 77


def test_a_worker_that_joins_checks_the_limit_of_its_own_machine(tmp_path: Path) -> None:
    plan = plan_for("http://127.0.0.1:1", Wish(workers=2, seconds=1.0, concurrency=(1,)))
    phase = plan.scenario.phases[0].model_copy(update={"concurrency": 800})
    wide = plan.scenario.model_copy(update={"phases": (phase,)})
    write_plan(plan.model_copy(update={"scenario": wide}), tmp_path)
    code = (
        "import sys; from pathlib import Path; from loadtests.distributed import worker; "
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


def test_a_limit_that_the_kernel_refuses_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert open_files.raise_soft_limit() == 1024


def planned(concurrency: int, *faults: Mapping[str, object]) -> Scenario:
    content = scenario(load=5000)
    content["phases"][1]["concurrency"] = concurrency
    content["phases"][1]["role"] = "chaos" if faults else "load"
    content["faults"] = faults
    return Scenario.model_validate_json(json.dumps(content))


def files(plan: Scenario, workers: int = 1, *, stack: str = "local", joined: bool = False) -> dict[str, int]:
    found = of_run(plan, workers, "local" if stack == "local" else "compose-cpu", joined=joined)
    return {need.what: need.files for need in found}


def test_each_kind_of_process_needs_its_connections() -> None:
    assert files(planned(1500), workers=4) == {
        "a load worker with 375 connections": 375 + SPARE,
        "the server with 1,500 connections": 1500 + connections.SERVER_SPARE,
    }


def test_a_proxy_has_two_connections_for_each_request() -> None:
    assert files(planned(1500, CUT))["the network proxy with 1,500 connections"] == 3000 + SPARE


def test_crowds_connect_from_the_conductor_to_the_server() -> None:
    needs = files(planned(100, STORM))
    assert needs["the conductor with 700 clients that leave"] == 700 + SPARE
    assert needs["the server with 800 connections"] == 800 + connections.SERVER_SPARE


def test_containers_and_other_machines_have_limits_of_their_own() -> None:
    assert files(planned(1500), stack="compose-cpu", joined=True) == {}


def test_no_more_connections_than_requests_are_counted() -> None:
    assert files(planned(9000), joined=True) == {
        "the server with 5,000 connections": 5000 + connections.SERVER_SPARE
    }


def test_the_neediest_process_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "raise_soft_limit", lambda least: 1024)
    with pytest.raises(UsageError, match=r"the mock server with 1,500 connections needs 1,628"):
        connections.allow(of_client_bench(1500, workers=2))


def test_a_run_with_too_many_connections_ends_before_anything_starts(
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


def test_the_lean_client_opens_more_connections_than_the_soft_limit(tmp_path: Path) -> None:
    sent = limited(256, 2048, "-m", "tests.unit.many_connections", str(tmp_path), "300")
    assert (sent.returncode, sent.stderr) == (0, "")
    requests = read_lines(tmp_path / layout.requests_file(0), RequestRecord)
    assert [request.error for request in requests] == [None] * 300
    assert max(record.connections for record in read_lines(tmp_path / layout.CLIENT, ClientRecord)) > 256


def test_the_lean_client_is_refused_in_one_line_where_the_hard_limit_is_too_low(cache: Path) -> None:
    words = ("client-bench", "--client", "lean", "--concurrency", "300", "--seconds", "3")
    refused = limited(256, 256, "-m", "kvchaos", *words)
    assert refused.returncode == 3
    (line,) = refused.stderr.splitlines()
    assert "needs 428, the hard limit is 256" in line
