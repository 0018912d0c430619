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
from history.jsonl import read_lines
from history.records import ClientRecord, RequestRecord
from history.scenario import Scenario
from kvchaos.planning import open_file_limits
from kvchaos.planning.open_file_limits import needs_of_run
from loadtests import open_files
from loadtests.open_files import ENOUGH, SPARE, target
from tests.support.fake_server_runs import scenario

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


def test_process_raises_its_file_limit_and_that_of_its_children() -> None:
    code = (
        "import resource, subprocess, sys; from loadtests.open_files import raise_soft_limit; "
        "reached = raise_soft_limit(); sys.stdout.write(f'{reached} ' + subprocess.check_output("
        "['sh', '-c', 'ulimit -Sn; ulimit -Hn'], text=True))"
    )
    assert limited(256, 2048, "-c", code).stdout.split() == ["2048", "2048", "2048"]


@pytest.mark.parametrize(
    "module", ["loadtests.load_worker", "loadtests.distributed.master", "loadtests.mock"]
)
def test_processes_with_many_connections_raise_their_limit(module: str) -> None:
    """They are also started by hand, without a command that has raised it before."""
    code = (
        f"import resource, sys, {module} as module; entry = getattr(module, '__main__', module)\n"
        "entry.raise_soft_limit = lambda: sys.exit(77)\n"
        "entry.main(sys.argv[1:])"
    )
    if module == "loadtests.mock":
        code = code.replace("loadtests.mock as", "loadtests.mock.__main__ as")
    commands = {
        "loadtests.load_worker": "--plan p --worker 0 --of 1 --out o",
        "loadtests.distributed.master": "--plan p --workers 1 --host 127.0.0.1 --port 1",
        "loadtests.mock": "--log l",
    }
    assert limited(1024, 1024, "-c", code, *commands[module].split()).returncode == 77


def test_file_limit_refused_by_the_kernel_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
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
    found = needs_of_run(plan, workers, "local" if stack == "local" else "compose-cpu", joined=joined)
    return {need.what: need.files for need in found}


def test_file_need_is_computed_per_process_kind() -> None:
    needs = files(planned(1500), workers=4)
    assert list(needs.values()) == [375 + SPARE, 1500 + open_file_limits.SERVER_SPARE]


def test_a_proxy_has_two_connections_for_each_request() -> None:
    assert 3000 + SPARE in files(planned(1500, CUT)).values()


def test_crowds_connect_from_the_conductor_to_the_server() -> None:
    needs = files(planned(100, STORM)).values()
    assert {700 + SPARE, 800 + open_file_limits.SERVER_SPARE} <= set(needs)


def test_containers_and_remote_workers_have_separate_file_limits() -> None:
    assert files(planned(1500), stack="compose-cpu", joined=True) == {}


def test_no_more_connections_than_requests_are_counted() -> None:
    assert list(files(planned(9000), joined=True).values()) == [5000 + open_file_limits.SERVER_SPARE]


def test_the_lean_client_opens_more_connections_than_the_soft_limit(tmp_path: Path) -> None:
    sent = limited(256, 2048, "-m", "tests.support.many_connections", str(tmp_path), "300")
    assert (sent.returncode, sent.stderr) == (0, "")
    requests = read_lines(tmp_path / layout.requests_file(0), RequestRecord)
    assert [request.error for request in requests] == [None] * 300
    assert max(record.connections for record in read_lines(tmp_path / layout.CLIENT, ClientRecord)) > 256
