"""The plain script: it sends the requests of the run, and checks the failure."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from history.phase_spec import Poisson
from history.scenario import WorkloadSpec
from kvchaos.triage.failure_signature import FailureSignature
from kvchaos.triage.failure_trace import FailureTrace
from kvchaos.triage.load_script import LoadScript, check_of, load_script, script_text
from loadtests import workloads
from tests.fakes.openai_server import Behaviour, FakeServer
from tests.support.histories import Run
from tests.support.triage_runs import load_run, with_workload

DIED = FailureSignature(rule="server-alive/died", signature="server-alive/died: server")
HUNG = FailureSignature(rule="progress/stall", signature="progress/stall: server")
ANSWERS = FailureSignature(rule="answers/not-golden", signature="answers/not-golden: request")


@pytest.fixture
def run() -> Run:
    return load_run()


def script_of(run: Run, failure: FailureSignature = DIED, trace: FailureTrace | None = None) -> LoadScript:
    return load_script(run.plan, run.requests, trace or FailureTrace(), failure)


def result_of(made: LoadScript, folder: Path, behaviour: Behaviour) -> tuple[int, str, list[list[int]]]:
    """Exit code, output, and the prompts that the server received."""
    assert made.text is not None
    path = folder / "load.py"
    path.write_text(made.text)
    with FakeServer(behaviour) as server:
        done = subprocess.run(
            [sys.executable, "-I", str(path), "--url", server.url, "--model", "tiny"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr, [each.body["prompt"] for each in server.received]


def test_server_receives_the_prompts_of_the_run(run: Run, tmp_path: Path) -> None:
    code, output, prompts = result_of(script_of(run), tmp_path, Behaviour())
    assert (code, "the failure does not show" in output) == (0, True)
    built = {
        name: workloads.build(spec, name, run.plan.seed) for name, spec in run.plan.scenario.workloads.items()
    }
    expected = [
        list(next(built[phase.workload].script(index)).prompts[0].token_ids)
        for phase in run.plan.scenario.phases
        for index in range(phase.first, phase.first + phase.requests)
    ]
    assert sorted(prompts) == sorted(expected)


def test_requests_after_the_failure_are_left_out(run: Run, tmp_path: Path) -> None:
    first = run.plan.scenario.phases[0]
    made = script_of(run, trace=FailureTrace(sent={first.name: 2}))
    _, output, prompts = result_of(made, tmp_path, Behaviour())
    assert len(prompts) == 2
    assert f"phase {first.name}: 2 requests: 2 ok" in output


def test_answers_that_differ_are_the_failure(run: Run, tmp_path: Path) -> None:
    made = script_of(run, ANSWERS)
    assert result_of(made, tmp_path, Behaviour())[0] == 0
    load = runpy.run_path(str(tmp_path / "load.py"))["LOAD"]
    for phase in load["phases"]:
        for request in phase["requests"]:
            request["prompt_id"] = "one"
    code, output, _ = result_of(LoadScript(script_text(load)), tmp_path, Behaviour())
    assert (code, "prompt one: the answer differs" in output) == (1, True)


def test_request_without_an_answer_in_time_is_a_hang(run: Run, tmp_path: Path) -> None:
    first = run.plan.scenario.phases[0]
    made = script_of(run, HUNG, FailureTrace(sent={first.name: 1}))
    result_of(made, tmp_path, Behaviour())
    load = runpy.run_path(str(tmp_path / "load.py"))["LOAD"] | {"timeout_s": 0.5}
    code, _, _ = result_of(LoadScript(script_text(load)), tmp_path, Behaviour(shape="silent"))
    assert code == 1


def test_counters_are_judged_by_their_growth(run: Run, tmp_path: Path) -> None:
    (tmp_path / "load.py").write_text(script_of(run, ANSWERS).text or "")
    growth = runpy.run_path(str(tmp_path / "load.py"))["growth"]
    before, after = {"a_total": 5.0, "gauge": 1.0}, {"a_total": 7.0, "b_total": 1.0, "gauge": 3.0}
    assert growth(before, after) == {"a_total": 2.0, "b_total": 1.0, "gauge": 3.0}


def test_server_that_answers_with_errors_is_reported(run: Run, tmp_path: Path) -> None:
    _, output, _ = result_of(script_of(run), tmp_path, Behaviour(shape="server_error"))
    assert "HTTP 500" in output


def test_run_that_needs_a_fault_has_no_script(run: Run) -> None:
    made = script_of(run, trace=FailureTrace(fired={"flip": (3,)}))
    assert (made.text, "flip" in made.reason) == (None, True)


def test_fault_that_did_not_fire_needs_no_suite(run: Run) -> None:
    assert script_of(run, trace=FailureTrace(fired={"flip": ()})).text is not None


@pytest.mark.parametrize("kind", ["multi_turn", "of_another_package"])
def test_load_that_cannot_be_made_again_has_no_script(run: Run, kind: str) -> None:
    run.plan = with_workload(run.plan, WorkloadSpec(kind=kind, params={}))
    made = script_of(run)
    assert (made.text, bool(made.reason)) == (None, True)


def test_requests_with_arrival_times_keep_them(run: Run) -> None:
    scenario = run.plan.scenario
    timed = [
        phase.model_copy(update={"arrivals": Poisson(kind="poisson", rate=2.0)}) for phase in scenario.phases
    ]
    run.plan = run.plan.model_copy(update={"scenario": scenario.model_copy(update={"phases": tuple(timed)})})
    text = script_of(run).text
    assert text is not None
    assert '"at_s":0.0' in text
    assert '"at_s":null' not in text


@pytest.mark.parametrize(
    ("rule", "check"),
    [
        ("server-alive/died", "server"),
        ("progress/stall", "hang"),
        ("answers/not-golden", "answers"),
        ("accounting/tier-lookups-exceed-misses", "tier-lookups"),
        ("accounting/abandoned-requests", "finished-requests"),
        ("server-alive/bad-exit", "none"),
    ],
)
def test_script_checks_the_server_the_answers_or_the_counters_by_the_rule(rule: str, check: str) -> None:
    assert check_of(rule) == check
