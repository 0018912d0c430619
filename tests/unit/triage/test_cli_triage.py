"""`kvchaos shrink`, `bisect` and `reproduce` without a server: results, exit codes, bad input in one line."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from history.plan import RunPlan
from history.scenario import FaultSpec, Scenario, Trigger
from kvchaos.cli.app import run as command_line
from kvchaos.cli.shrink_command import ShrinkResult
from kvchaos.planning.scenario_file import load_scenario
from kvchaos.triage.bisection_result import Bisection
from kvchaos.triage.failure_repeats import RepeatResult
from kvchaos.triage.failure_signature import Observation
from kvchaos.triage.repeated_trials import ConductedRun
from kvchaos.triage.triage_runner import TriageRunner
from tests.support.fake_server_runs import register_fake
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import make_plan
from tests.support.triage_runs import triage_scenario

SERVERS = ("0.16.0", "0.17.0", "0.18.0", "0.19.1", "0.20.2")
FAULT = FaultSpec(id="miss", kind="lookup_miss", trigger=Trigger(nth=(1, 4)))


@dataclass
class FakeRuns:
    """In place of runs: what a scenario with a seed shows on a server."""

    observe: Callable[[Scenario, int, str], Observation] = lambda scenario, seed, server: "shows"
    conducted: list[tuple[Scenario, int, str]] = field(default_factory=list)
    kill_at: int = 1_000_000

    def conduct(self, runner: TriageRunner, scenario: Scenario, seed: int | None = None) -> ConductedRun:
        if len(self.conducted) == self.kill_at:
            raise KeyboardInterrupt
        request = runner.request(scenario, seed)
        made = (scenario, request.seed, request.server.name)
        self.conducted.append(made)
        return ConductedRun(self.observe(*made), 1.0, f"run-{len(self.conducted)}")


@pytest.fixture
def fake(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    for name in SERVERS:
        register_fake(cache, name, name)
    monkeypatch.setenv("KVCHAOS_RUNS", str(tmp_path / "runs"))
    runs = FakeRuns()
    monkeypatch.setattr(
        TriageRunner, "conduct", lambda runner, scenario, seed=None: runs.conduct(runner, scenario, seed)
    )
    return runs


def failing_plan() -> RunPlan:
    plan = make_plan(roles=("golden", "chaos"))
    versions = plan.versions.model_copy(update={"server_name": "0.18.0"})
    return plan.model_copy(update={"versions": versions, "scenario": failing_scenario()})


def failing_scenario() -> Scenario:
    return triage_scenario(requests=12, concurrency=4, faults=(FAULT,))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run whose server ends its shutdown with SIGSEGV."""
    run = clean_run(failing_plan())
    run.events[-1].data["code"] = -11
    write_run(run, tmp_path / "failing")
    return tmp_path / "failing"


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that bad input ends with."""
    assert command_line(arguments) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if line.startswith("kvchaos: ")]
    assert len(lines) == 1
    return lines[0]


def needs_a_fault(scenario: Scenario, seed: int, server: str) -> Observation:
    return "shows" if scenario.faults and scenario.phases[-1].requests >= 2 else "absent"


def shrunk(folder: Path) -> ShrinkResult:
    path = folder / "runs" / "shrink-synthetic-1" / "shrink.json"
    return msgspec.json.decode(path.read_bytes(), type=ShrinkResult)


def test_shrink_writes_the_smallest_scenario_and_its_command(
    fake: FakeRuns, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.observe = needs_a_fault
    out = tmp_path / "small.yaml"
    assert command_line(["shrink", str(run_dir), "--out", str(out)]) == 0
    smallest = load_scenario(out)
    (phase,), (fault,) = smallest.phases, smallest.faults
    assert (phase.requests, phase.concurrency, fault.trigger.nth) == (2, 1, (4,))
    printed = capsys.readouterr().out
    assert f"run it: kvchaos run {out} --server 0.18.0 --seed 7" in printed
    assert "requests: 16 -> 2" in printed
    result = shrunk(tmp_path)
    assert result.complete
    assert (result.before.firings, result.after.firings) == (2, 1)
    assert result.runs == len(fake.conducted)
    assert shlex.split(result.command)[:3] == ["kvchaos", "run", str(out)]


def test_killed_shrink_goes_on_and_repeats_nothing(
    fake: FakeRuns, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.observe, fake.kill_at = needs_a_fault, 9
    assert command_line(["shrink", str(run_dir)]) == 130
    assert "goes on from here" in capsys.readouterr().err
    load_scenario(tmp_path / "runs" / "shrink-synthetic-1" / "failing.yaml")
    fake.kill_at = 1_000_000
    assert command_line(["shrink", str(run_dir)]) == 0
    assert "9 runs of an earlier start" in capsys.readouterr().err
    assert shrunk(tmp_path).runs == len(fake.conducted)
    assert command_line(["shrink", str(run_dir)]) == 0
    assert shrunk(tmp_path).runs == len(fake.conducted)


def test_budget_ends_a_shrink_with_what_was_found(
    fake: FakeRuns, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["shrink", str(run_dir), "--max-runs", "4"]) == 0
    assert "the budget was spent" in capsys.readouterr().out
    assert not shrunk(tmp_path).complete
    assert len(fake.conducted) == 4


def test_failure_that_does_not_show_again_is_unknown(
    fake: FakeRuns, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.observe = lambda scenario, seed, server: "absent"
    assert command_line(["shrink", str(run_dir)]) == 2
    assert "did not show again: 0 of 10 runs" in capsys.readouterr().out


def test_bisect_finds_the_first_and_the_last_release(
    fake: FakeRuns, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.observe = lambda scenario, seed, server: "shows" if server in SERVERS[1:4] else "absent"
    assert command_line(["bisect", str(run_dir)]) == 0
    printed = capsys.readouterr().out
    assert "first release that shows it: 0.17.0 (0.16.0 does not show it)" in printed
    assert "last release that shows it: 0.19.1 (0.20.2 does not show it)" in printed
    path = tmp_path / "runs" / "bisect-synthetic-1" / "bisection.json"
    found = msgspec.json.decode(path.read_bytes(), type=Bisection).found
    assert found is not None
    assert (found.first, found.last) == ("0.17.0", "0.19.1")


def test_bisect_runs_only_the_named_releases(fake: FakeRuns, run_dir: Path, tmp_path: Path) -> None:
    arguments = ["--releases", "0.18.0,0.19.1", "--good", "0.16.0", "--out", str(tmp_path / "b.json")]
    assert command_line(["bisect", str(run_dir), *arguments]) == 0
    assert {server for _, _, server in fake.conducted} == {"0.18.0", "0.19.1"}
    found = msgspec.json.decode((tmp_path / "b.json").read_bytes(), type=Bisection).found
    assert found is not None
    assert (found.first, found.absent_before, found.last) == ("0.18.0", "0.16.0", "0.19.1")


def test_bisect_without_the_time_for_it_is_unknown(fake: FakeRuns, run_dir: Path) -> None:
    assert command_line(["bisect", str(run_dir), "--max-runs", "6"]) == 2


def test_reproduce_repeats_with_seeds_and_without_faults(
    fake: FakeRuns, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.observe = needs_a_fault
    assert command_line(["reproduce", str(run_dir)]) == 0
    assert [seed for _, seed, _ in fake.conducted] == [7, 7, 7, 8, 9, 10, 7]
    assert "always: 6 of 6 runs" in capsys.readouterr().out
    path = tmp_path / "runs" / "reproduce-synthetic-1" / "repeats.json"
    assert msgspec.json.decode(path.read_bytes(), type=RepeatResult).only_with_faults is True


def test_failure_that_no_repeat_shows_is_unknown(fake: FakeRuns, run_dir: Path) -> None:
    fake.observe = lambda scenario, seed, server: "absent"
    assert command_line(["reproduce", str(run_dir), "--other-seeds", "0"]) == 2


@pytest.mark.parametrize("command", ["shrink", "bisect", "reproduce"])
def test_missing_run_directory_is_one_line(
    fake: FakeRuns, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no such run directory" in complaint(capsys, command, str(tmp_path / "nothing"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["shrink", "bisect", "reproduce"])
def test_run_without_a_finding_is_one_line(
    fake: FakeRuns, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(clean_run(failing_plan()), tmp_path / "clean")
    assert "has no finding" in complaint(capsys, command, str(tmp_path / "clean"))


def test_run_that_was_cut_short_is_no_failure_of_the_server(
    fake: FakeRuns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = clean_run(failing_plan())
    run.event("interrupted", signal="SIGTERM")
    write_run(run, tmp_path / "cut")
    assert "no failure of the server: environment" in complaint(capsys, "shrink", str(tmp_path / "cut"))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("shrink", "--signature", "nonsense"), "has no cause 'nonsense'; its causes: server-alive/bad-exit"),
        (("shrink", "--for", "soon"), "--for soon"),
        (("shrink", "--server", "nightly"), "no server named nightly"),
        (("bisect", "--releases", "0.18.0,nightly"), "no server named nightly"),
        (("bisect", "--good", "0.18.0"), "--good 0.18.0"),
        (("bisect", "--bad", "nightly"), "no server named nightly"),
        (("reproduce", "--server", "../x"), "server name '../x'"),
    ],
)
def test_bad_option_is_one_line(
    fake: FakeRuns,
    run_dir: Path,
    arguments: tuple[str, ...],
    part: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, *options = arguments
    assert part in complaint(capsys, command, str(run_dir), *options)
    assert fake.conducted == []


def test_result_that_cannot_be_written_is_one_line(
    fake: FakeRuns, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "nowhere" / "small.yaml")
    for command in ("shrink", "bisect"):
        assert "nowhere" in complaint(capsys, command, str(run_dir), "--out", out)
    assert fake.conducted == []
