"""A server without chaos carries no trace of it, so that its figures are those of the server alone."""

from __future__ import annotations

import re
import subprocess

import pytest

from history import layout
from kvchaos.paths import cache_folder
from kvchaos.stacks.process_group import PROC
from tests.server.bench import CAMPAIGN_S, OLD, RELEASES, Bench, RunDir, scenario_content
from tests.server.conftest import Campaigns
from tests.server.footprint import footprint

pytestmark = [pytest.mark.server, pytest.mark.timeout(CAMPAIGN_S + 100)]

TRACE = re.compile(rb"(?:^|\0)KVCHAOS_|kvchaos_control|chaos[./]inside")
SCENARIO = "baseline-offload"


def planned_traces(run: RunDir) -> set[str]:
    """What speaks of chaos in the plan of a run: the server's command and environment."""
    plan = run.history.plan
    values = (*plan.command, *plan.environment, *plan.environment.values())
    return {value for value in values if TRACE.search(value.encode())}


def live_traces(pids: set[int]) -> list[str]:
    """What speaks of chaos in the command lines and environments of running processes."""
    looks = [(pid, (PROC / str(pid) / name).read_bytes()) for pid in pids for name in ("cmdline", "environ")]
    return [f"process {pid}: {match[0]!r}" for pid, text in looks for match in TRACE.finditer(text)]


def logged_traces(run: RunDir) -> list[str]:
    """Lines of the server's log that speak of the suite, the paths it works on aside."""
    plan = run.history.plan
    model = plan.command[plan.command.index("--model") + 1]
    paths = (str(run.path), plan.environment["TMPDIR"], model, str(cache_folder()))
    ours = re.compile("|".join(map(re.escape, paths)))
    return [line for line in run.history.log if "kvchaos" in ours.sub("", line).lower()]


def imports(run: RunDir, module: str) -> bool:
    """Whether the server's interpreter, in the server's environment, can import a module of ours."""
    plan = run.history.plan
    tried = subprocess.run(
        [plan.command[0], "-c", f"import {module}"],
        env={"PYTHONPATH": plan.environment["PYTHONPATH"]},
        cwd=run.path / layout.CONTROL,
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        assert f"{ModuleNotFoundError.__name__}: " in tried.stderr, tried.stderr
    return tried.returncode == 0


@pytest.mark.parametrize("release", RELEASES)
def test_chaos_off_loads_no_chaos_code_in_the_server(bench: Bench, release: str) -> None:
    server = {**scenario_content(SCENARIO)["server"], "chaos": False, "audit": False}
    with bench.running(bench.variant(SCENARIO, server=server), release) as command:
        running = command.wait_for_event("phase_start", phase="load")
        assert live_traces(footprint(command, running).server_processes()) == []
        finished = command.finish()
    assert finished.code == 0, finished.out
    run = finished.run()
    assert run.result_of("offload-used").verdict == "pass"
    assert planned_traces(run) == set()
    assert logged_traces(run) == []
    assert list((run.path / layout.CONTROL).iterdir()) == []
    assert imports(run, "chaos.hostcopy")
    assert not imports(run, "chaos.inside")


def test_chaos_code_is_detected_with_chaos_on(campaigns: Campaigns) -> None:
    (run,) = (run for run in campaigns(OLD).runs() if run.scenario == SCENARIO)
    assert "chaos.inside.connector" in "".join(planned_traces(run))
    assert logged_traces(run)
    assert list((run.path / layout.CONTROL).iterdir())
    assert imports(run, "chaos.inside")
