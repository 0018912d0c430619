"""The Makefile: the first thing that anybody runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from kvchaos.cli.requested_server import DEFAULT_SERVER
from tests.server.contract.generations import ONE_OF_EACH
from tests.support.workflow_files import GRAFANA_WORKFLOW, load, targets

ROOT = Path(__file__).parents[3]
TARGETS = [
    *("demo", "setup", "chaos", "test", "matrix", "bench-idle", "bench-judge", "bench-trace"),
    *("programs", "fuzz", "test-light", "test-servers", "test-compose", "test-everything"),
    *("gpu-session", "test-boards", "test-grafana", "panels", "downloads"),
    *("lint", "format", "doctor", "clean", "distclean", "nightly", "nightly-fetch", "nightly-publish"),
]


NEEDS_REGISTRY = {"grafana"}
"""Folders of tests that `make test-everything` leaves out: images of Grafana come from a registry alone."""


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make with some environment variables."""
    # A make that runs these tests would hand its own flags on.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**environ, **variables},
        capture_output=True,
        text=True,
    )


def test_plain_make_is_make_help() -> None:
    assert make().stdout == make("help").stdout != ""


@pytest.mark.parametrize("target", TARGETS)
def test_help_lists_every_target_with_one_line(target: str) -> None:
    assert re.search(rf"^  {target} +\S.*$", make("help").stdout, re.MULTILINE)


def test_help_lists_nothing_that_is_not_a_target() -> None:
    for line in make("help").stdout.splitlines()[1:]:
        assert make("--dry-run", line.split()[0]).returncode == 0, line


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ([], "kvchaos run --server 0.32.0 --all"),
        (["VLLM=0.18.0"], "kvchaos run --server 0.18.0 --all"),
        (["SCENARIO=seed-bug", "SEED=7"], "kvchaos run --server 0.32.0 --seed 7 seed-bug"),
    ],
)
def test_chaos_hands_its_variables_on(variables: list[str], command: str) -> None:
    planned = [" ".join(line.split()) for line in make("--dry-run", "chaos", *variables).stdout.splitlines()]
    assert any(line.endswith(command) for line in planned), planned


def test_matrix_hands_its_variables_on() -> None:
    variables = ("RELEASES=0.18.0 0.32.0", "SCENARIOS=aborts", "SHARD=2/5", "KEEP=1")
    planned = " ".join(make("--dry-run", "matrix", *variables).stdout.replace("\\\n", " ").split())
    wanted = '--releases "0.18.0 0.32.0" --scenarios "aborts" --shard 2/5 --keep --page docs/releases.md'
    assert f"kvchaos matrix {wanted}" in planned


def handed_on(target: str, **variables: str) -> dict[str, str]:
    """The options that a target gives to kvchaos. Nothing is installed or run."""
    printed = make("UV=/bin/true", "RUN=printf '%s\\n'", target, **variables).stdout.splitlines()
    return {name: value for name, value in pairwise(printed) if name.startswith("--")} | {"first": printed[3]}


def test_nightly_has_defaults_for_all_that_it_hands_on() -> None:
    wanted = {
        "--candidate": DEFAULT_SERVER,
        "--control": "0.31.0",
        "--for": "20m",
        "--history": "nights",
        "--out": "build/nightly",
        "--runs": "runs",
        "--repository": ".",
        "first": "examples/nightly.yaml",
    }
    assert handed_on("nightly") == wanted
    # A workflow sets each variable, to nothing where its input is empty.
    empty = dict.fromkeys(
        ("CANDIDATE", "CONTROL", "FOR", "HISTORY", "OUT", "RUNS", "REPOSITORY", "BRANCH"), ""
    )
    assert handed_on("nightly", NIGHTLY="", **empty) == wanted


def test_nightly_hands_its_variables_on() -> None:
    given = handed_on("nightly", CANDIDATE="mine", CONTROL="0.30.0", FOR="4h", HISTORY="h h", BRANCH="nights")
    assert given["--candidate"] == "mine"
    assert given["--control"] == "0.30.0"
    assert given["--for"] == "4h"
    assert given["--history"] == "h h"
    assert given["--branch"] == "nights"


def test_nightly_measures_the_cost_of_the_chaos_module_only_in_given_minutes() -> None:
    assert "--minutes" not in handed_on("nightly")
    given = handed_on("nightly", IDLE="7", HISTORY="nights of June")
    assert (given["--minutes"], given["--history"]) == ("7", "nights of June/idle-cost.jsonl")


@pytest.mark.parametrize(
    ("job", "cost", "fails"),
    [(0, 0, False), (0, 1, True), (0, 2, False), (0, 3, True), (1, 0, True), (2, 2, True)],
)
def test_nightly_fails_by_its_job_or_by_a_cost_above_the_target(job: int, cost: int, fails: bool) -> None:
    run = f"sh -c 'case $$0 in kvchaos) exit {job};; *) exit {cost};; esac'"
    assert bool(make("UV=/bin/true", f"RUN={run}", "nightly", IDLE="1").returncode) == fails


@pytest.mark.parametrize("target", ["nightly-fetch", "nightly-publish"])
def test_branch_of_the_history_has_defaults(target: str) -> None:
    given = handed_on(target)
    assert given["--history"] == "nights"
    assert given["--branch"] == "kvchaos-history"
    assert handed_on(target, BRANCH="other")["--branch"] == "other"


@pytest.mark.parametrize(
    "text", ["$(touch made)", "`touch made`", "$(shell touch made)", "a'; touch made; '", '"; touch made']
)
def test_text_of_a_workflow_input_is_never_executed(text: str) -> None:
    assert handed_on("nightly", CANDIDATE=text)["--candidate"] == text
    assert not (ROOT / "made").exists()


def on_one_line(commands: str) -> str:
    return " ".join(commands.replace("\\\n", " ").split())


def test_chaos_gpu_checks_the_card_and_the_build_first() -> None:
    planned = on_one_line(make("--dry-run", "chaos-gpu", "STACK=local", "SERVER=mine").stdout)
    assert "kvchaos run --gpu --stack local --server mine --for 45m --all" in planned


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        (("QUICK=1",), "--for 10m --all"),
        (("FOR=9m", "SCALE=tiny"), "--scale tiny --for 9m --all"),
        (("SCENARIO=aborts",), "--for 45m aborts"),
    ],
)
def test_chaos_gpu_has_a_time_limit(variables: tuple[str, ...], options: str) -> None:
    planned = on_one_line(make("--dry-run", "chaos-gpu", *variables).stdout)
    assert planned.endswith(options)


def commands(target: str, program: str) -> list[list[str]]:
    """Arguments of each call of a program that a target plans."""
    return [shlex.split(line) for line in re.findall(rf"{program} (.*)", make("--dry-run", target).stdout)]


def test_make_test_installs_the_default_release_only() -> None:
    assert commands("test", "kvchaos server install") == [[DEFAULT_SERVER]]
    light, end_to_end = commands("test", "pytest")
    assert light[-2:] == ["-m", "not older_release"]
    assert end_to_end[:3] == ["tests/e2e", "--server", DEFAULT_SERVER]


def test_the_last_lines_of_make_test_name_what_did_not_run() -> None:
    light = commands("test", "pytest")[0]
    last = make("--dry-run", "test").stdout.splitlines()[-1]
    assert [path for path in last.split() if path.startswith("tests/")] == [
        path for path in light if path.startswith("tests/") and "contract" not in path
    ]


def test_make_everything_covers_every_test_folder() -> None:
    """Helpers have no tests of their own; e2e runs scenarios that the campaigns in tests/server run."""
    light, end_to_end, boards, older, alone, servers, compose = commands("test-everything", "pytest")
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py"))}
    assert folders - NEEDS_REGISTRY == {
        path.split("/")[1]
        for path in [*light, *servers, *compose, *end_to_end, *boards]
        if path.startswith("tests/")
    }
    # Contract tests of one release by `make test`, of the others by `make test-servers`.
    assert light[-2:] == ["-m", "not older_release"]
    assert older[-2:] == ["-m", "older_release"]
    assert servers[-2 - len(alone) :] == ["--ignore", older[-3], *(f"--ignore={path}" for path in alone)]
    assert all((ROOT / path).is_file() for path in alone)


def test_folder_that_needs_a_registry_has_a_target_that_a_workflow_runs() -> None:
    assert commands("test-grafana", "pytest") == [["tests/grafana"]]
    assert commands("test-grafana", "python -m") == [["tests.grafana.grafana_images"]]
    assert targets(load(GRAFANA_WORKFLOW)) == {"test-grafana"}


def test_the_servers_of_the_tests_are_one_of_each_generation() -> None:
    assert f"in {' '.join(ONE_OF_EACH)};" in make("--dry-run", "test-servers").stdout


def test_the_light_tests_of_every_interpreter_are_those_of_make_test() -> None:
    (anywhere,) = commands("test-light", "pytest")
    light = commands("test", "pytest")[0]
    assert [path for path in anywhere if path.startswith("tests/")] == [
        path for path in light if path.startswith("tests/") and "contract" not in path
    ]


def test_demo_installs_run_time_dependencies_and_removes_nothing() -> None:
    """It is there before anything else is, and must not take packages for development from others."""
    planned = make("--dry-run", "--always-make", "demo").stdout
    assert re.search(r"uv sync .*--frozen --no-dev --inexact", planned)
    assert "kvchaos server install" not in planned


def test_a_second_demo_installs_nothing(tmp_path: Path) -> None:
    stamp = tmp_path / "runtime"
    stamp.touch()
    planned = make("--dry-run", f"RUNTIME={stamp}", f"--old-file={ROOT / 'uv.lock'}", "demo").stdout
    assert "sync" not in planned
    assert "kvchaos judge" in planned


def test_missing_python_is_named(tmp_path: Path) -> None:
    answer = make("PYTHON=", f"TOOLS={tmp_path / 'tools'}", "setup")
    assert answer.returncode != 0
    assert "Python 3.11" in answer.stderr


def test_missing_pip_or_venv_names_the_package_to_install(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    answer = make(f"PYTHON={python}", f"TOOLS={tmp_path / 'tools'}", "setup")
    assert answer.returncode != 0
    assert "python3-venv" in answer.stderr


def test_ci_runs_all_tests() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert [line for line in script.splitlines() if line.startswith("make ")] == [
        "make test",
        'make downloads >"$log" 2>&1 &',
        "make test-boards",
        "make test-compose",
        "make test-servers",
    ]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert os.access(ROOT / ".ci/interpreters", os.X_OK)
