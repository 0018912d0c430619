"""The units that docs/ shows, in a package of its own: found, shown with their origin, checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.acme_units import ORIGIN, PAGES, ROOT, block, module_file, python, write_package

SCREEN_LINES = 125

LOAD = """
import sys
from pathlib import Path
from kvchaos.planning.scenario_file import load_scenario
from loadtests.workloads import build
scenario = load_scenario(Path(sys.argv[1]))
for name, spec in scenario.workloads.items():
    build(spec, name, 1)
print(scenario.name)
"""
JUDGE = """
from msgspec.structs import replace
from kvchaos.judging.judge_run import judge
from tests.support.histories import clean_run
for length in (None, 9999):
    run = clean_run()
    if length is not None:
        run.requests[3] = replace(run.requests[3], token_ids=[1] * length)
    (result,) = (one for one in judge(run.history()).results if one.oracle == "answer-lengths")
    print(result.verdict.value, dict(result.by_rule))
"""
RAISES = """
from dataclasses import replace
import oracles
from kvchaos.judging import judge_run
from tests.support.histories import clean_run
def closed(history):
    raise StopAsyncIteration("acme is closed")
(oracle,) = (one for one in oracles.ORACLES if one.name == "answer-lengths")
result = judge_run.run_oracle(replace(oracle, judge=closed), clean_run().history())
print(result.verdict.value, [gap.kind for gap in result.gaps])
"""
PLUGIN = """
import sys
from pathlib import Path
from kvchaos.stacks.server_files import PLUGIN_PARTS, link_plugin
print(link_plugin(Path(sys.argv[1]), PLUGIN_PARTS))
"""
INJECTS = """
import sys
from pathlib import Path
from chaos.inside.injection_points import LOOKUP, FoundBlock
from tests.support.control_directory import Room, entry
with Room(Path(sys.argv[1])) as room:
    engine = room.start()
    room.arm(entry("even", "hidden_block"))
    block = FoundBlock(bytes(32), 1, 0, list)
    engine.inject(LOOKUP, block, key=block.key)
    (line,) = (line for line in room.lines() if line.n is not None)
    print(block.answer, line.event, line.evidence.get("reason"))
    print(line.evidence.get("detail"))
"""
CHECKS = """
from oracles.faults_fired import judge
from tests.support.contract_violating_runs import struck
print([gap.kind for gap in judge(struck("hidden_block", 1).history()).gaps])
"""
KINDS = """
import sys
from chaos.inside.inside_kinds import KINDS
print("hidden_block" in KINDS, sorted(name for name in sys.modules if name.startswith("history.")
      and not name.startswith("history.protocol")), "vllm" in sys.modules, "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("page", PAGES)
def test_page_about_a_unit_fits_a_screen(page: str) -> None:
    assert len((ROOT / "docs" / f"{page}.md").read_text().splitlines()) <= SCREEN_LINES


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["faults"], "hidden_block"),
        (["oracles"], "answer-lengths"),
        (["oracles", "--rules"], "answer-lengths"),
        (["workloads"], "growing"),
    ],
)
def test_commands_show_units_of_other_packages_with_their_origin(
    site: Path, command: list[str], name: str
) -> None:
    done = python(site, "-m", "kvchaos", *command)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if name in line]
    assert ORIGIN in line


@pytest.mark.parametrize("page", ["write-a-fault", "write-a-workload"])
def test_scenario_of_a_page_is_accepted_with_its_unit(site: Path, tmp_path: Path, page: str) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(block(page, "yaml"), encoding="utf-8")
    done = python(site, "-c", LOAD, str(path))
    assert done.stdout.strip() == module_file(page).removesuffix(".py").replace("_", "-"), done.stderr


def test_rule_of_another_package_judges(site: Path) -> None:
    done = python(site, "-c", JUDGE)
    assert done.stdout.splitlines() == ["pass {}", "fail {'answer-lengths/too-long': 1}"], done.stderr


def test_rule_of_another_package_that_raises_is_unknown(site: Path) -> None:
    done = python(site, "-c", RAISES)
    assert done.stdout.strip() == "unknown ['answer-lengths/crashed']", done.stderr


CLOSED = "raise OSError('acme is closed')"


def test_fault_of_another_package_that_raises_in_the_server_is_journaled_as_refused(tmp_path: Path) -> None:
    site = write_package(tmp_path / "site", "write-a-fault", ('block.answer = "miss"', CLOSED))
    done = python(site, "-c", INJECTS, str(tmp_path / "control"))
    assert done.stdout.splitlines()[:1] == ["hit refused fault-raised"], done.stderr
    for part in ("hidden_block", ORIGIN, "OSError: acme is closed"):
        assert part in done.stdout.splitlines()[1]


def test_effect_check_of_another_package_that_raises_is_unknown(tmp_path: Path) -> None:
    first = "queries = case.growth_to_the_end"
    site = write_package(tmp_path / "site", "write-a-fault", (first, f"{CLOSED}\n    {first}"))
    done = python(site, "-c", CHECKS)
    assert "faults-fired/check-crashed" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("page", "command"),
    [("write-a-fault", "faults"), ("write-a-rule", "oracles"), ("write-a-workload", "run")],
)
def test_package_that_cannot_be_imported_ends_a_command_with_one_line(
    tmp_path: Path, page: str, command: str
) -> None:
    done = python(write_package(tmp_path / "site", page), "-m", "kvchaos", command)
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert ORIGIN in done.stderr


def test_contract_cases_of_a_fault_of_another_package_run_and_pass(site: Path) -> None:
    done = python(site, "-m", "chaos.inside.contract_cases", "hidden_block")
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert {case["case"]: case["problem"] for case in cases} == {
        "fires-with-its-evidence": None,
        "is-missing": None,
        "dry-run-changes-nothing": None,
    }, done.stderr


def test_fault_of_another_package_is_on_the_path_of_a_server(site: Path, tmp_path: Path) -> None:
    done = python(site, "-c", PLUGIN, str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": done.stdout.strip(), "PYTHONSAFEPATH": "1"}
    server = subprocess.run(
        [sys.executable, "-c", KINDS], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert server.stdout.split() == ["True", "[]", "False", "False"], done.stderr + server.stderr


def test_judging_imports_neither_vllm_nor_torch_nor_docker() -> None:
    code = "import sys, oracles; print({'vllm', 'torch', 'docker'} & sys.modules.keys())"
    done = python(ROOT, "-c", code)
    assert done.stdout.strip() == "set()", done.stderr
