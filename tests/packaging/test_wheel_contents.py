"""The wheel holds what a run needs, nothing that only development needs, and works without the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from history import layout
from kvchaos import __version__
from tests.packaging.wheel import PACKAGES, ROOT, Installation, clean_environment
from tests.support.stored import DATA, unpack

# The first test also builds and installs.
pytestmark = pytest.mark.timeout(900)

GENERATOR = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dashboards").glob("*.py")}
STORED_RUN = DATA / "green.tar.xz"


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    """Paths in the wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as packed:
        return {name for name in packed.namelist() if ".dist-info/" not in name}


def files_of_the_packages() -> set[str]:
    """Paths in the checkout."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_contains_all_package_files_except_the_dashboard_generator(contents: set[str]) -> None:
    assert contents == files_of_the_packages() - GENERATOR


def test_the_wheel_installs_no_name_but_its_packages(contents: set[str]) -> None:
    assert {name.partition("/")[0] for name in contents} == set(PACKAGES)


def test_wheel_has_the_grafana_dashboards_without_code(contents: set[str]) -> None:
    dashboards = {name for name in contents if name.startswith("dashboards/")}
    assert dashboards == {f"dashboards/{name}.json" for name in ("run", "campaign", "fleet", "nights")}


@pytest.mark.parametrize(
    "name", ["scenarios/baseline-offload.yaml", "compose/compose.yaml", "loadtests/page/charts.js"]
)
def test_files_that_are_read_and_not_imported_are_in_the_wheel(contents: set[str], name: str) -> None:
    assert name in contents


def test_the_installed_command_is_not_the_checkout(installed: Installation) -> None:
    code = "import chaos, history, kvchaos, loadtests, oracles; print(kvchaos.__file__)"
    found = subprocess.run(
        [installed.python, "-c", code],
        cwd=installed.folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(installed.folder / "env")
    assert installed.kvchaos("--version").stdout == f"kvchaos {__version__}\n"


def test_the_installed_doctor_checks_what_the_checkouts_doctor_checks(installed: Installation) -> None:
    alone = installed.kvchaos("doctor")
    environment = {
        "KVCHAOS_CACHE": str(installed.folder / "cache"),
        "KVCHAOS_RUNS": str(installed.folder / "runs"),
    }
    ours = subprocess.run(
        [sys.executable, "-m", "kvchaos", "doctor"],
        cwd=ROOT,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
    )
    assert alone.stderr == ""
    assert alone.returncode == ours.returncode
    assert first_cells(alone.stdout) == first_cells(ours.stdout)
    assert "Python" in first_cells(alone.stdout)


def first_cells(table: str) -> list[str]:
    return [line.split()[0] for line in table.splitlines() if line and not line.startswith(" ")]


def test_the_installed_judge_reaches_the_stored_verdict(installed: Installation, tmp_path: Path) -> None:
    run_dir = unpack(STORED_RUN, tmp_path)
    stored = (run_dir / layout.VERDICT).read_bytes()
    (run_dir / layout.VERDICT).unlink()
    judged = installed.kvchaos("judge", str(run_dir))
    assert (judged.returncode, judged.stderr) == (0, "")
    assert (run_dir / layout.VERDICT).read_bytes() == stored
    assert (run_dir / layout.REPORT).is_file()


def test_the_installed_command_finds_the_scenarios(installed: Installation) -> None:
    unknown = installed.kvchaos("plan", "no-such-scenario")
    assert unknown.returncode == 3
    assert "corruption-canary" in unknown.stderr
