"""The issue for vLLM: environment, traceback and reproduction, without folders of the machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from history.scenario import FaultSpec, Trigger
from kvchaos.cli.app import run as command_line
from kvchaos.triage.bisection_result import Bisection, ExaminedRelease
from kvchaos.triage.failure_repeats import RateOfRuns
from kvchaos.triage.failure_signature import FailureSignature
from kvchaos.triage.plain_command import plain_command
from kvchaos.triage.upstream_issue import neutral, traceback_of
from tests.support.histories import Run, clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import make_plan
from tests.support.triage_runs import UNIQUE, load_run, with_workload

HEADINGS = (
    "# [Bug]: ",
    "## Your current environment\n",
    "## Describe the bug\n",
    "### How to reproduce ",
)
SIGNATURE = "server-alive/bad-exit: server"
FAULT = FaultSpec(id="miss", kind="lookup_miss", trigger=Trigger(nth=(1,)))
CORE = "(EngineCore pid=7) ERROR 11-30 16:48:12 [core.py:1]"
LOG = (
    f"{CORE} Traceback (most recent call last):",
    f'{CORE}   File "/root/x/site-packages/vllm/v1/core/sched.py", line 7, in schedule',
    f"{CORE}     assert block",
    f"{CORE} AssertionError",
    "INFO after it",
)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("KVCHAOS_RUNS", str(tmp_path / "runs"))
    run = load_run()
    run.events[-1].data["code"] = -11
    return run


def issue_of(run: Run, folder: Path, *options: str) -> str:
    write_run(run, folder / "failing")
    out = folder / "bug.md"
    assert command_line(["issue", str(folder / "failing"), "--out", str(out), *options]) == 0
    return out.read_text()


def test_issue_has_the_headings_of_the_form_and_a_script(failing: Run, tmp_path: Path) -> None:
    text = issue_of(failing, tmp_path)
    for heading in (
        "# [Bug]: ",
        "## Your current environment",
        "## Describe the bug",
        "### How to reproduce it",
    ):
        assert heading in text
    versions = failing.plan.versions
    assert f"vLLM {versions.vllm}, torch {versions.torch}" in text
    assert "server-alive/bad-exit" in text
    assert "python bug.py --url" in text
    assert (tmp_path / "bug.py").is_file()


def test_run_that_needs_a_fault_has_no_script_and_describes_the_fault(tmp_path: Path) -> None:
    plan = make_plan(roles=("golden", "chaos"))
    scenario = plan.scenario.model_copy(update={"faults": (FAULT,)})
    run = clean_run(with_workload(plan.model_copy(update={"scenario": scenario}), UNIQUE))
    run.events[-1].data["code"] = -11
    run.fire("miss", "lookup_miss")
    text = issue_of(run, tmp_path)
    assert "There is no plain script: the run needs its faults: miss" in text
    assert "- `lookup_miss`: " in text
    assert not (tmp_path / "bug.py").exists()


def test_issue_has_the_releases_of_a_bisection(failing: Run, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / f"bisect-{failing.plan.run_id}"
    folder.mkdir(parents=True)
    release = ExaminedRelease(server="0.31.0", vllm="0.31.0", decision="absent", shown=0, runs=5)
    found = Bisection(
        run=failing.plan.run_id,
        failure=FailureSignature(rule="server-alive/bad-exit", signature=SIGNATURE),
        rate=RateOfRuns(shown=5, runs=5, low=0.5, high=1.0),
        tries=5,
        miss=0.001,
        releases=[release],
        found=None,
    )
    (folder / "bisection.json").write_bytes(msgspec.json.encode(found))
    assert "vLLM 0.31.0: absent, 0 of 5 runs" in issue_of(failing, tmp_path)


def test_damaged_result_of_an_earlier_command_is_named(
    failing: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / f"reproduce-{failing.plan.run_id}"
    folder.mkdir(parents=True)
    (folder / "repeats.json").write_text("{")
    write_run(failing, tmp_path / "failing")
    assert command_line(["issue", str(tmp_path / "failing"), "--out", str(tmp_path / "bug.md")]) == 3
    assert str(folder / "repeats.json") in capsys.readouterr().err


def test_other_name_than_of_a_text_is_refused(failing: Run, tmp_path: Path) -> None:
    write_run(failing, tmp_path / "failing")
    assert command_line(["issue", str(tmp_path / "failing"), "--out", str(tmp_path / "bug.py")]) == 3


def test_run_without_a_failure_has_no_issue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(clean_run(), tmp_path / "good")
    assert command_line(["issue", str(tmp_path / "good"), "--out", str(tmp_path / "bug.md")]) == 3
    assert str(tmp_path / "good") in capsys.readouterr().err


def test_traceback_ends_with_its_exception() -> None:
    assert traceback_of("AssertionError in vllm.v1.core.sched.schedule", LOG) == slice(0, 4)
    assert traceback_of("KeyError in vllm.v1.core.sched.schedule", LOG) is None


def test_log_has_no_folder_of_the_machine() -> None:
    assert neutral(LOG[1]).endswith('File "vllm/v1/core/sched.py", line 7, in schedule')
    assert neutral("\x1b[0;36mopen /home/someone/x\x1b[0m") == "open ~/x"


def test_command_has_the_connector_of_vllm_and_no_path() -> None:
    command = plain_command(make_plan().command)
    assert command.startswith("vllm serve MODEL ")
    assert "chaos" not in command.lower()
    assert "/" not in command
