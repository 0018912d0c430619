"""`kvchaos soak`: budget, interruption, exit codes, and the lines of the morning."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from history.verdict import Cause, FaultEffect, Outcome, RunVerdict
from kvchaos.campaign.campaign import CampaignContext
from kvchaos.cli.app import run as command_line
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.stability import stability_runner
from kvchaos.stability.stability_store import read_stability
from tests.support.fake_server_runs import register_fake
from tests.support.histories import clean_run

LEAK = "drained/blocks-leaked: gauge"


@dataclass
class ScriptedCampaign:
    """In place of servers: a verdict for each run, and a clock that moves with each."""

    failing: Callable[[int], bool] = lambda number: False
    control_found: bool = True
    interrupt_at: int | None = None
    requested: list[tuple[str, int]] = field(default_factory=list)
    now: float = 0.0
    following: list[str | None] = field(default_factory=list)
    """The scenario after each run, where the server is kept for it."""

    def run_one(
        self,
        request: RunRequest,
        workspace: Workspace,
        console: Console,
        interceptor: None,
        context: CampaignContext,
    ) -> tuple[Path, bool]:
        self.following.append(context.following.scenario.name if context.following else None)
        number = len(self.requested)
        if number == self.interrupt_at:
            self.interrupt_at = None
            return workspace.runs / "cut", True
        self.requested.append((request.scenario.name, request.seed))
        self.now += 20.0
        run_dir = workspace.runs / f"run-{number}"
        run_dir.mkdir()
        return run_dir, False

    def judge(self, run_dir: Path) -> RunVerdict:
        number = int(run_dir.name.removeprefix("run-"))
        scenario, seed = self.requested[number]
        failed = self.failing(number)
        outcome: Outcome = "not as expected" if failed else "as expected"
        cause = Cause(rule="drained/blocks-leaked", signature=LEAK, violations=1, unexplained=True)
        effect = FaultEffect(
            fault="flip",
            kind="corrupt",
            rules=["answers/not-golden"],
            least=1,
            explains={"answers/not-golden": 2} if self.control_found else {},
        )
        return RunVerdict(
            run_id=run_dir.name,
            scenario=scenario,
            server="fake",
            seed=seed,
            outcome=outcome,
            reasons=["drained: a block is in use"] if failed else [],
            expected_failures=[],
            issue=None,
            results=[],
            causes=[cause] if failed else [],
            effects=[effect],
        )


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ScriptedCampaign:
    monkeypatch.setenv("KVCHAOS_CACHE", str(tmp_path / "cache"))
    register_fake(tmp_path / "cache")
    scripted = ScriptedCampaign()
    monkeypatch.setattr(stability_runner, "run_one", scripted.run_one)
    monkeypatch.setattr(stability_runner, "judge_run_dir", scripted.judge)
    monkeypatch.setattr(stability_runner, "monotonic", lambda: scripted.now)
    return scripted


def soak(folder: Path, *arguments: str) -> int:
    options = ["--history", str(folder / "history"), "--server", "fake", "--runs", str(folder / "runs")]
    return command_line(["soak", *options, *(arguments or ("--for", "200s"))])


def test_night_ends_before_a_run_would_pass_its_budget(tmp_path: Path, campaign: ScriptedCampaign) -> None:
    assert soak(tmp_path) == 0
    assert len(campaign.requested) == 9
    assert campaign.requested[0] == ("corruption-canary", 1)


def test_new_signature_is_in_the_morning_lines(
    tmp_path: Path, campaign: ScriptedCampaign, capsys: pytest.CaptureFixture[str]
) -> None:
    # Runs 3 to 6 repeat run 2: with its seed, then with others.
    campaign.failing = lambda number: number in (2, 3, 5)
    assert soak(tmp_path) == 1
    out = capsys.readouterr().out
    assert "Stability: not green: 9 runs of fake" in out
    assert f"New: {LEAK} (flaky: 2 of 4 repeats" in out
    assert "Positive control: found" in out
    (line,) = read_stability(tmp_path / "history").signatures
    assert (line.signature, line.count, line.server) == (LEAK, 1, "fake")
    scenario, seed = campaign.requested[2]
    again = f"kvchaos run {scenario} --server fake --seed {seed}"
    assert again in (tmp_path / "history" / "stability.md").read_text()
    assert campaign.requested[3:7] == [(scenario, seed)] * 2 + [(scenario, seed + 1), (scenario, seed + 2)]


def test_failure_of_last_night_runs_again_and_is_ongoing(
    tmp_path: Path,
    campaign: ScriptedCampaign,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign.failing = lambda number: number == 2
    soak(tmp_path)
    failed = campaign.requested[2]
    campaign.failing = lambda number: number == 11
    move_to(monkeypatch, tmp_path, "2026-11-29T02:00:00Z")
    capsys.readouterr()
    soak(tmp_path)
    assert failed in campaign.requested[9:]
    out = capsys.readouterr().out
    assert "New:" not in out
    assert f"Ongoing: {LEAK}" in out


def move_to(monkeypatch: pytest.MonkeyPatch, folder: Path, night: str) -> None:
    """Let the stored night be an earlier one."""
    for path in (folder / "history").glob("*.jsonl"):
        path.write_text(re.sub(r'"night":"[^"]+"', f'"night":"{night}"', path.read_text()))


def test_missed_positive_control_is_not_green(
    tmp_path: Path, campaign: ScriptedCampaign, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign.control_found = False
    assert soak(tmp_path) == 1
    assert "Positive control: missed" in capsys.readouterr().out


def test_interrupted_night_goes_on_and_counts_each_run_once(
    tmp_path: Path, campaign: ScriptedCampaign, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign.interrupt_at = 4
    assert soak(tmp_path) == 130
    folder = capsys.readouterr().out.rpartition("--resume ")[2].strip()
    assert read_stability(tmp_path / "history").nights == []
    assert soak(tmp_path, "--for", "200s", "--resume", folder) == 0
    (night,) = read_stability(tmp_path / "history").nights
    assert night.runs == 9
    assert len(campaign.requested) == len(set(campaign.requested)) == 9


def test_night_on_one_server_keeps_it_for_conforming_runs(
    tmp_path: Path,
    campaign: ScriptedCampaign,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stability_runner, "read_history", lambda run_dir: clean_run().history())
    assert soak(tmp_path, "--for", "400s", "--one-server") == 0
    names = [name for name, _ in campaign.requested]
    assert names[0] == "corruption-canary"
    assert set(names[1:]) == {
        "baseline-offload",
        "legal-swarm",
        "load-failure-recompute",
        "mid-prefill-preemption",
    }
    assert campaign.following[:-1] == names[1:]
    (night,) = read_stability(tmp_path / "history").nights
    assert night.runs == len(names)


def test_resumed_night_on_one_server_stays_one(
    tmp_path: Path,
    campaign: ScriptedCampaign,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stability_runner, "read_history", lambda run_dir: clean_run().history())
    campaign.interrupt_at = 3
    assert soak(tmp_path, "--for", "200s", "--one-server") == 130
    folder = capsys.readouterr().out.rpartition("--resume ")[2].strip()
    assert soak(tmp_path, "--for", "200s", "--resume", folder) == 0
    assert None not in campaign.following


def test_scenarios_that_no_one_server_can_serve_are_refused(
    tmp_path: Path, campaign: ScriptedCampaign, capsys: pytest.CaptureFixture[str]
) -> None:
    assert soak(tmp_path, "--for", "200s", "--one-server", "--scenarios", "aborts") == 3
    assert "--one-server" in capsys.readouterr().err


def test_night_of_another_server_is_not_resumed(
    tmp_path: Path, campaign: ScriptedCampaign, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign.interrupt_at = 2
    soak(tmp_path)
    folder = capsys.readouterr().out.rpartition("--resume ")[2].strip()
    register_fake(tmp_path / "cache", name="other")
    code = soak(tmp_path, "--for", "200s", "--resume", folder, "--server", "other")
    assert code == 3
    assert "give --server fake" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--for", "6"), ("--scenarios", "no-such-one"), ("--resume", "nowhere")])
def test_bad_argument_starts_nothing(
    tmp_path: Path, campaign: ScriptedCampaign, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    assert soak(tmp_path, *option) == 3
    assert option[1] in capsys.readouterr().err
    assert campaign.requested == []
