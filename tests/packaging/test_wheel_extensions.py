"""The suite from its wheel, with a package beside it that brings a fault, a rule and a workload."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.packaging.wheel import Installation, clean_environment, install
from tests.support.acme_units import ORIGIN, block, write_package

SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"
LOAD = (
    "import sys, pathlib, kvchaos.planning.scenario_file as file; "
    "print(file.load_scenario(pathlib.Path(sys.argv[1])).name)"
)


@pytest.fixture(scope="module")
def extended(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installed = install(wheel, tmp_path_factory.mktemp("extended"))
    site = Path(python(installed, "-c", SITE).strip())
    write_package(site)
    return installed


def python(installed: Installation, *arguments: str) -> str:
    done = subprocess.run(
        [installed.python, *arguments],
        cwd=installed.folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", ["faults", "oracles"])
def test_installed_suite_lists_units_of_other_packages(extended: Installation, command: str) -> None:
    done = extended.kvchaos(command)
    assert done.returncode == 0, done.stderr
    assert ORIGIN.split()[0] in done.stdout


@pytest.mark.parametrize("page", ["write-a-fault", "write-a-workload"])
def test_installed_suite_reads_scenarios_with_units_of_other_packages(
    extended: Installation, page: str
) -> None:
    path = extended.folder / f"{page}.yaml"
    path.write_text(block(page, "yaml"), encoding="utf-8")
    assert python(extended, "-c", LOAD, str(path)).strip()


def test_installed_suite_runs_the_contract_cases_of_other_packages(extended: Installation) -> None:
    lines = python(extended, "-m", "chaos.inside.contract_cases", "hidden_block").splitlines()
    assert [line for line in lines if '"problem": null' not in line] == []
    assert len(lines) == 3
