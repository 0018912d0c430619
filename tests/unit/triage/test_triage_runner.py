"""A run of a triage: what ends it is a finding, a failure of the infrastructure, or an interrupt."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from kvchaos.errors import Interrupted, UsageError
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.stacks.stack import ServerStartFailed
from kvchaos.triage import triage_runner
from kvchaos.triage.failure_signature import FailureSignature
from kvchaos.triage.failure_trace import FailureTrace
from kvchaos.triage.triage_runner import FailingRun, TriageRunner, TriageTarget
from tests.support.fake_server_runs import register_fake
from tests.support.histories import Run, clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import make_plan

BAD_EXIT = FailureSignature(rule="server-alive/bad-exit", signature="server-alive/bad-exit: server")
Conduct = Callable[[RunRequest, Workspace, Console], tuple[Path, bool]]


@pytest.fixture
def runner(tmp_path: Path) -> TriageRunner:
    target = TriageTarget(
        FailingRun(make_plan(), BAD_EXIT, FailureTrace()), register_fake(tmp_path / "cache")
    )
    workspace = Workspace(cache=tmp_path / "cache", runs=tmp_path / "runs", port=None)
    return TriageRunner(target, workspace, tmp_path / "triage", Console(file=io.StringIO()))


def patch_runs(monkeypatch: pytest.MonkeyPatch, conduct: Conduct) -> None:
    monkeypatch.setattr(triage_runner, "run_one", conduct)


def writes(run: Run, *, interrupted: bool = False) -> Conduct:
    """A run that leaves these files."""

    def conduct(request: RunRequest, workspace: Workspace, console: Console) -> tuple[Path, bool]:
        write_run(run, workspace.runs / "run-1")
        return workspace.runs / "run-1", interrupted

    return conduct


def fails(error: Exception) -> Conduct:
    def conduct(request: RunRequest, workspace: Workspace, console: Console) -> tuple[Path, bool]:
        raise error

    return conduct


def bad_exit() -> Run:
    run = clean_run()
    run.events[-1].data["code"] = -11
    return run


def test_run_with_the_finding_shows_the_failure(
    runner: TriageRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_runs(monkeypatch, writes(bad_exit()))
    made = runner.conduct(make_plan().scenario)
    assert (made.observation, made.run, made.reason) == ("shows", "run-1", None)


def test_run_without_the_finding_does_not(runner: TriageRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_runs(monkeypatch, writes(clean_run()))
    assert runner.conduct(make_plan().scenario).observation == "absent"


def test_server_that_does_not_start_is_named(runner: TriageRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_runs(monkeypatch, fails(ServerStartFailed("it exited with code 1", exit_code=1, tail=())))
    made = runner.conduct(make_plan().scenario)
    assert (made.observation, made.run, made.reason) == ("server start", None, "it exited with code 1")


def test_other_error_is_one_of_the_environment(runner: TriageRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_runs(monkeypatch, fails(UsageError("no room")))
    assert runner.conduct(make_plan().scenario).observation == "environment"


def test_signal_before_or_in_a_run_is_no_result(
    runner: TriageRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_runs(monkeypatch, writes(clean_run(), interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        runner.conduct(make_plan().scenario)
    before = UsageError("interrupted")
    before.__cause__ = Interrupted("SIGINT")
    patch_runs(monkeypatch, fails(before))
    with pytest.raises(KeyboardInterrupt):
        runner.conduct(make_plan().scenario)


def test_runs_have_the_seed_and_the_load_generator_of_the_failing_run(runner: TriageRunner) -> None:
    plan = make_plan()
    request = runner.request(plan.scenario, None)
    assert (request.seed, request.workers, request.client, request.stack) == (7, 1, "openai", "local")
    assert runner.request(plan.scenario, 9).seed == 9
