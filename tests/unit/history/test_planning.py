"""The plan is the only truth of a run: it must be whole, come back as it was, and have a place on disk."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version

from history.expected_findings import AllowedLine
from history.phase_spec import PhaseBounds, PhaseSpec
from history.reader import read_plan
from history.scenario import Limits, Scenario, ServerSettings, Trigger, WorkloadSpec
from kvchaos.planning.run_plan import (
    RunRequest,
    git_state,
    host,
    make_run_dir,
    new_run_id,
    resolve,
    write_plan,
)
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.report.verdict_text import repeat_command
from kvchaos.servers.served_model import ServedModel
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.stacks.server_command import Listening, RunFolders, plan_launch
from tests.support.synthetic_records import fault, latency_plan, make_plan

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def request(scenario: str = "small", server: str = "0.32.0", seed: int = 7) -> RunRequest:
    return RunRequest(
        scenario=Scenario(
            name=scenario,
            summary="",
            server=ServerSettings(gpu_blocks=40),
            workloads={"w": WorkloadSpec(kind="unique")},
            phases=(PhaseSpec(name="golden", role="golden", workload="w", requests=1, concurrency=1),),
        ),
        server=ServerEnv(
            name=server,
            kind="added",
            vllm="0.32.0+cpu",
            torch="2.13.0+cpu",
            python=Path("/env/bin/python"),
            python_version="3.11.7",
            preload=("/lib/a.so",),
            entry_module="vllm.entrypoints.openai.api_server",
        ),
        seed=seed,
        workers=2,
    )


@pytest.mark.parametrize("scenario", ["a", "baseline-offload", "a_b", "x" * 64, "x" * 42 + "-y"])
@pytest.mark.parametrize("server", ["0.32.0", "0.33.0.dev1+CPU_x", "N" * 64, "a+"])
def test_run_id_is_a_valid_file_name_for_any_input(scenario: str, server: str) -> None:
    run_id = new_run_id(request(scenario, server))
    assert NAME.fullmatch(run_id), run_id
    assert run_id.startswith(scenario[:42])


def test_run_ids_of_one_second_differ() -> None:
    made = [new_run_id(request()) for _ in range(20)]
    # By chance two of them are equal in 3 of 1,000 tests.
    assert len(set(made)) > 15


def test_resolved_plan_records_exactly_what_runs(tmp_path: Path) -> None:
    wanted = request()
    weights = ServedModel("/model", fingerprint="abc", token_bytes=1024)
    folders = RunFolders(temp=tmp_path, plugin=tmp_path, control=tmp_path)
    assert isinstance(wanted.server, ServerEnv)
    launch = plan_launch(wanted.server, wanted.scenario.server, weights, Listening(8123), folders)
    plan = resolve(wanted, "run-1", launch, weights)
    assert plan.command == launch.command
    assert plan.environment == launch.environment
    assert plan.base_url == "http://127.0.0.1:8123"
    assert (plan.seed, plan.workers, plan.scenario) == (7, 2, wanted.scenario)
    assert plan.versions.vllm == "0.32.0+cpu"
    assert (plan.versions.model, plan.kv_token_bytes) == ("abc", 1024)
    assert plan.expectation.fail == ()


def test_own_build_is_judged_as_the_given_release(tmp_path: Path) -> None:
    scenario = load_scenario(find_scenario("mid-prefill-preemption"))
    wanted = replace(request(), scenario=scenario, as_release=Version("0.18.0"))
    weights = ServedModel("/model", fingerprint="abc", token_bytes=1024)
    folders = RunFolders(temp=tmp_path, plugin=tmp_path, control=tmp_path)
    assert isinstance(wanted.server, ServerEnv)
    launch = plan_launch(wanted.server, wanted.scenario.server, weights, Listening(8123), folders)
    plan = resolve(wanted, "run-1", launch, weights)
    assert (plan.as_release, plan.versions.vllm) == ("0.18.0", "0.32.0+cpu")
    assert [bug.id for bug in plan.expectation.bugs] == ["vllm-36533"]
    assert repeat_command(plan).endswith("--as-release 0.18.0")
    assert "server-alive/died" in plan.expectation.fail
    own = resolve(replace(wanted, as_release=None), "run-2", launch, weights)
    assert (own.as_release, own.expectation.bugs) == (None, ())
    altered = resolve(replace(wanted, altered=True), "run-3", launch, weights).expectation
    assert (altered.fail, "server-alive/died" in altered.collateral) == ((), True)


def test_plan_records_an_inexact_build(tmp_path: Path) -> None:
    wanted = request(server="0.16.0")
    assert isinstance(wanted.server, ServerEnv)
    wanted = replace(wanted, server=wanted.server.model_copy(update={"kind": "installed"}))
    assert isinstance(wanted.server, ServerEnv)
    folders = RunFolders(temp=tmp_path, plugin=tmp_path, control=tmp_path)
    weights = ServedModel("/model", fingerprint="abc", token_bytes=None)
    launch = plan_launch(wanted.server, wanted.scenario.server, weights, Listening(8123), folders)
    assert resolve(wanted, "run-1", launch, weights).logprob_tolerance == 2e-5


def test_plan_without_a_tolerance_is_exact(tmp_path: Path) -> None:
    path = write_plan(make_plan(), tmp_path)
    text = path.read_text()
    assert "logprob_tolerance: 0.0\n" in text
    path.write_text(text.replace("logprob_tolerance: 0.0\n", ""))
    assert read_plan(tmp_path).logprob_tolerance == 0.0


def test_a_plan_is_read_back_equal(tmp_path: Path) -> None:
    plan = make_plan(
        faults=(
            fault("copy_delay", limit=3).model_copy(
                update={"params": {"min_ms": 1, "max_ms": 2.5, "direction": "load", "dry_run": True}}
            ),
            fault("bit_flip").model_copy(update={"id": "f2", "trigger": Trigger(nth=(0, 5, 9))}),
        )
    )
    # Texts that YAML takes for something else when they stand bare.
    plan = plan.model_copy(
        update={
            "created": "2026-11-24T08:00:00+00:00",
            "environment": {"A": "1", "B": "true", "C": "", "D": "a: b # c", "E": "08:15", "NO": "no"},
            "command": ("python", "-m", "x", '{"a": "b\\n"}', "ünï", "- x"),
            "scenario": plan.scenario.model_copy(
                update={"summary": "null", "limits": Limits(stall_s=1e-3, drain_s=1e6)}
            ),
        }
    )
    assert write_plan(plan, tmp_path) == tmp_path / "run.yaml"
    assert read_plan(tmp_path) == plan


@pytest.mark.parametrize(
    "bounds",
    [
        PhaseBounds(ttft_p99_ms=500.0, itl_p99_ms=50.0),
        PhaseBounds(like="golden", tokens_ratio=0.8),
        PhaseBounds(tokens_per_s=20.0, like="golden", ttft_ratio=2.0, recover_s=5.0),
    ],
)
def test_plan_with_optional_scenario_keys_round_trips(tmp_path: Path, bounds: PhaseBounds) -> None:
    plan = latency_plan()
    allowed = AllowedLine(pattern="AssertionError$", why="on purpose")
    additions = {"performance": {"healed": bounds}, "allowed_log_lines": (allowed,)}
    plan = plan.model_copy(update={"scenario": plan.scenario.model_copy(update=additions)})
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path) == plan


def test_each_run_gets_a_separate_directory(tmp_path: Path) -> None:
    run_dir = make_run_dir(tmp_path / "deep" / "runs", "run-1")
    assert run_dir == tmp_path / "deep" / "runs" / "run-1"
    assert list(run_dir.iterdir()) == []


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "code.py").write_text("1\n")
    git(folder, "add", "code.py")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def test_clean_checkout_is_recorded_by_its_commit(checkout: Path) -> None:
    assert git_state(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_changed_checkout_is_not_taken_for_its_commit(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "code.py").write_text("2\n")
    assert git_state(checkout) == f"{commit}+changes"


def test_a_new_file_is_a_change_too(checkout: Path) -> None:
    (checkout / "more.py").touch()
    assert git_state(checkout).endswith("+changes")


def test_repository_around_an_installation_is_ignored(checkout: Path) -> None:
    inside = checkout / "site-packages"
    inside.mkdir()
    assert git_state(inside) == "unknown"


def test_a_checkout_without_a_commit_or_a_git_is_unknown(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    assert git_state(empty) == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(checkout) == "unknown"


def test_host_description_has_kernel_processors_and_memory() -> None:
    assert re.fullmatch(r"Linux \S+ \S+, \d+ processors, \d+ GiB", host())
