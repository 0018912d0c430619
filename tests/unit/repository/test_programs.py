"""A missing program leaves out the tests that need it and no others; in continuous integration they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_programs import write_program
from tests.support.fake_server_runs import ROOT

CONFTEST = "from tests.conftest import pytest_configure\n"
TESTS = """\
import pytest

@pytest.mark.prometheus
def test_scraped(): pass

@pytest.mark.prometheus
def test_scraped_twice(): pass

@pytest.mark.chromium
def test_rendered(): pass
"""
PLAIN = "def test_plain(): assert {}\n"


class Suite:
    """Tests of their own in a folder, on a machine without the programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_needy.py").write_text(TESTS)

    def run(self, *arguments: str, ci: str = "") -> tuple[int, str]:
        """Exit code and output of pytest."""
        return self.python("-m", "pytest", "-p", "no:cacheprovider", *arguments, ci=ci)

    def python(self, *arguments: str, ci: str = "") -> tuple[int, str]:
        """Exit code and output of the interpreter."""
        left = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        own = {
            "PATH": str(self.programs),
            "KVCHAOS_CACHE": str(self.folder / "cache"),
            "KVCHAOS_PROMETHEUS": "",
            "KVCHAOS_CHROMIUM": "",
            "CI": ci,
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**left, **own},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


LAST_LINES = (
    "not run: 2 tests that need Prometheus: test_needy.py (2)",
    "get it with: kvchaos tools install prometheus, or install Prometheus "
    "(Debian: sudo apt install prometheus), or: export KVCHAOS_PROMETHEUS=PATH",
    "not run: 1 test that needs Chromium: test_needy.py (1)",
    "get it with: kvchaos tools install chromium, or install Chromium (Debian: sudo apt install chromium), "
    "or: export KVCHAOS_CHROMIUM=PATH",
)


def last_lines(output: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in output.splitlines()[-4:])


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_tests_that_did_not_run_are_listed_last_and_are_no_failure(
    suite: Suite, workers: tuple[str, ...]
) -> None:
    code, output = suite.run(*workers)
    assert code == 0, output
    assert last_lines(output) == LAST_LINES


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_exit_code_follows_the_tests_that_ran(
    suite: Suite, workers: tuple[str, ...], holds: bool, code: int
) -> None:
    (suite.folder / "test_plain.py").write_text(PLAIN.format(holds))
    ended, output = suite.run(*workers)
    assert ended == code, output
    assert ("1 passed" in output) is holds
    assert last_lines(output) == LAST_LINES


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_missing_program_fails_in_continuous_integration(suite: Suite, workers: tuple[str, ...]) -> None:
    code, output = suite.run(*workers, ci="true")
    assert code == 1, output
    assert "no Prometheus found: get it with: kvchaos tools install" in output
    assert "no Chromium found: get it with: kvchaos tools install" in output
    assert "deselected" not in output


def test_tests_run_when_their_program_is_installed(suite: Suite) -> None:
    write_program(suite.programs / "prometheus", "#!/bin/sh\n")
    code, output = suite.run()
    assert code == 0, output
    assert "2 passed, 1 deselected" in output
    assert "that need Prometheus" not in output


def test_only_selected_tests_are_listed_as_not_run(suite: Suite) -> None:
    (suite.folder / "test_plain.py").write_text(PLAIN.format(True))
    code, output = suite.run("-k", "rendered or plain")
    assert code == 0, output
    assert "need Prometheus" not in output
    assert "not run: 1 test that needs Chromium" in output


def test_a_selection_without_any_test_is_still_an_error(suite: Suite) -> None:
    code, output = suite.run("-k", "nothing_of_this_name")
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED, output


@pytest.mark.parametrize("present", [False, True])
def test_after_several_runs_the_files_that_did_not_run_are_named_once_more(
    suite: Suite, present: bool
) -> None:
    if present:
        write_program(suite.programs / "prometheus", "#!/bin/sh\n")
    code, output = suite.python("-m", "tests.programs", ".")
    assert code == 0, output
    assert [line.split(";")[0] for line in output.splitlines()] == [
        f"not run: tests that need {title} in test_needy.py"
        for title in ("Prometheus", "Chromium")
        if not (present and title == "Prometheus")
    ]
