"""`kvchaos run`, wrongly used: one line that says what to do, exit code 3, and nothing started or left."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kvchaos.campaign.run_budget import RunBudget
from kvchaos.cli import run_command as run_cli
from kvchaos.cli.app import run as command_line
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_priority import BY_IMPORTANCE
from kvchaos.terminal.result_tables import CampaignRow
from tests.support.fake_server_runs import SERVER, register_fake, scenario, write_scenario

ALL = ["baseline-offload", "corruption-canary", "evict-storm", "load-failure-recompute"]


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


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a wrong use is answered with."""
    assert command_line(["run", *arguments]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("kvchaos: ")
    return line


def nothing_is_left(cache: Path, runs: Path) -> bool:
    return not list(cache.glob("state/*")) and not list(runs.glob("*"))


def test_unknown_scenario_lists_the_known_ones(
    cache: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, "nonsense")
    assert "no scenario named nonsense" in line
    assert all(name in line for name in ALL)


def test_a_release_that_is_no_version_is_refused(
    cache: Path, runs: Path, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--as-release newest" in complaint(capsys, small, "--server", SERVER, "--as-release", "newest")
    assert nothing_is_left(cache, runs)


def test_run_without_scenario_names_is_refused(
    cache: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give --all" in complaint(capsys)


def test_scenario_name_beside_all_is_refused(
    cache: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "one of the three" in complaint(capsys, "baseline-offload", "--all")


def test_invalid_scenario_ends_the_campaign_before_the_first_run(
    cache: Path, runs: Path, small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write_scenario(tmp_path / "bad.yaml", {**scenario(), "sumary": "x"})
    line = complaint(capsys, small, str(bad), "--server", SERVER)
    assert line == f"kvchaos: {bad}: sumary: unknown key; did you mean summary?"
    assert nothing_is_left(cache, runs)


def test_a_release_that_is_not_installed_is_answered_with_its_install_command(
    cache: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, "baseline-offload", "--server", "0.18.0")
    assert "kvchaos server install 0.18.0" in line
    assert nothing_is_left(cache, runs)


def test_an_unknown_server_is_answered_with_list_and_add(
    cache: Path, runs: Path, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no server named nightly" in complaint(capsys, small, "--server", "nightly")
    assert nothing_is_left(cache, runs)


def test_used_port_is_named_and_leaves_no_run_directory(
    cache: Path, runs: Path, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = str(other.getsockname()[1])
        line = complaint(capsys, small, "--server", SERVER, "--port", port)
    assert line == f"kvchaos: port {port} is in use: choose another with --port or leave it out"
    assert nothing_is_left(cache, runs)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "0"),
        ("--port", "65536"),
        ("--port", "http"),
        ("--seed", "-1"),
        ("--seed", str(2**63)),
        ("--seed", str(10**30)),
        ("--repeat", "0"),
        ("--workers", "0"),
        ("--workers", "65"),
        ("--stack", "moon"),
    ],
)
def test_invalid_option_value_is_refused(
    cache: Path, runs: Path, small: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert option.lstrip("-") in complaint(capsys, small, "--server", SERVER, option, value)
    assert nothing_is_left(cache, runs)


def test_unusable_runs_folder_is_named(
    cache: Path, small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    line = complaint(capsys, small, "--server", SERVER, "--runs", str(tmp_path / "file"))
    assert str(tmp_path / "file") in line
    assert "KVCHAOS_RUNS" in line


class Campaign:
    """Takes the place of the conductor: notes what it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requested: list[RunRequest] = []
        self.workspace: Workspace | None = None
        self.reuse: bool | None = None
        self.budget: RunBudget | None = None
        monkeypatch.setattr(run_cli, "run_all", self.run_all)

    def run_all(
        self,
        requests: list[RunRequest],
        workspace: Workspace,
        console: object,
        *,
        reuse: bool,
        budget: RunBudget | None,
    ) -> list[CampaignRow]:
        self.requested, self.workspace, self.reuse, self.budget = requests, workspace, reuse, budget
        return []


def test_repeats_increment_the_seed_per_scenario(
    cache: Path, runs: Path, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = Campaign(monkeypatch)
    other = str(write_scenario(tmp_path / "other.yaml", {**scenario(), "name": "other"}))
    options = ["--server", SERVER, "--seed", "5", "--repeat", "2", "--workers", "3"]
    assert command_line(["run", small, other, *options]) == 2  # no run, so nothing is known
    planned = [(request.scenario.name, request.seed, request.workers) for request in campaign.requested]
    assert planned == [("small", 5, 3), ("small", 6, 3), ("other", 5, 3), ("other", 6, 3)]
    assert campaign.workspace == Workspace(cache=cache, runs=runs, port=None)


@pytest.mark.parametrize(("options", "reuse"), [((), True), (("--fresh",), False)])
def test_servers_are_reused_unless_fresh_ones_are_requested(
    cache: Path,
    runs: Path,
    small: str,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    reuse: bool,
) -> None:
    campaign = Campaign(monkeypatch)
    command_line(["run", small, "--server", SERVER, *options])
    assert campaign.reuse is reuse


def test_all_selects_every_scenario(cache: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_fake(cache)
    campaign = Campaign(monkeypatch)
    command_line(["run", "--all", "--server", SERVER])
    assert set(ALL) < {request.scenario.name for request in campaign.requested}


def test_budget_puts_the_most_important_scenarios_first(
    cache: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_fake(cache)
    campaign = Campaign(monkeypatch)
    command_line(["run", "--all", "--server", SERVER, "--for", "9m"])
    assert campaign.budget is not None
    assert campaign.budget.fits()
    names = [request.scenario.name for request in campaign.requested]
    assert names[: len(BY_IMPORTANCE)] == list(BY_IMPORTANCE)
    assert set(ALL) < set(names)


def test_scaled_scenarios_reach_the_campaign_with_their_scaling(
    cache: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_fake(cache)
    campaign = Campaign(monkeypatch)
    command_line(["run", "evict-storm", "--server", SERVER, "--scale", "small"])
    (request,) = campaign.requested
    assert request.scaling is not None
    assert request.scenario.server.max_model_len == 768 * request.scaling.lengths
    command_line(["run", "evict-storm", "--server", SERVER])
    assert campaign.requested[0].scaling is None


@pytest.mark.parametrize(("stack", "there"), [("local", False), ("attach", True)])
def test_all_selects_the_scenarios_of_the_stack(
    cache: Path,
    runs: Path,
    stack: str,
    there: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = register_fake(cache)
    campaign = Campaign(monkeypatch)
    path = write_scenario(tmp_path / "other.yaml", {**scenario(), "name": "other", "stacks": ["attach"]})
    monkeypatch.setattr(run_cli, "scenario_files", lambda: [path])
    monkeypatch.setattr(run_cli, "server_for", lambda *_, **__: server)
    command_line(["run", "--all", "--stack", stack])
    assert bool(campaign.requested) is there


def test_scenario_excluded_from_all_runs_by_name(
    cache: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_fake(cache)
    campaign = Campaign(monkeypatch)
    path = write_scenario(tmp_path / "other.yaml", {**scenario(), "name": "other", "stacks": ["attach"]})
    command_line(["run", str(path), "--server", SERVER])
    assert [request.scenario.name for request in campaign.requested] == ["other"]


def test_all_starts_with_the_two_most_informative_scenarios(
    cache: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_fake(cache)
    campaign = Campaign(monkeypatch)
    command_line(["run", "--all", "--server", SERVER])
    names = [request.scenario.name for request in campaign.requested]
    assert names[:2] == ["baseline-offload", "corruption-canary"]
    assert len(names) == len(set(names)) > 20
