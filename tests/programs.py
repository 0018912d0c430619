"""Tests that need a program such as Prometheus are left out where it is missing, and named at the end.

In continuous integration (CI=true) they fail instead: there nothing may be left out. After several runs of
pytest, `python -m tests.programs PATH...` names once more what was left out of these files and folders.
"""

from __future__ import annotations

import ast
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kvchaos.prometheus.program import PROMETHEUS
from kvchaos.tools.amtool import AMTOOL
from kvchaos.tools.tool import CHROMIUM, Tool, find_tool, in_ci

TOOLS = (PROMETHEUS, AMTOOL, CHROMIUM)
"""A test that needs one has the marker with its name."""
OUTPUT = "kvchaos_left_out"
"""Where a worker of pytest-xdist puts what it left out, for the process that reports."""

LeftOut = Mapping[str, Mapping[str, int]]
"""For each tool by name: how many tests of each file were left out."""


def named_programs(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that name the programs of this machine, for a command with another cache folder."""
    found = {tool.variable: find_tool(environ, tool) for tool in TOOLS}
    return {variable: str(path) for variable, path in found.items() if path is not None}


def needed_tools(item: pytest.Item) -> list[Tool]:
    """The programs without which a test cannot run."""
    return [tool for tool in TOOLS if item.get_closest_marker(tool.name) is not None]


def report_lines(left_out: LeftOut) -> list[str]:
    """What did not run and how to get it to run; empty when nothing was left out."""
    lines = []
    for tool in TOOLS:
        files = left_out.get(tool.name, {})
        if files:
            counted = ", ".join(f"{file} ({count})" for file, count in sorted(files.items()))
            total = sum(files.values())
            tests = "1 test that needs" if total == 1 else f"{total} tests that need"
            lines.append(f"not run: {tests} {tool.title}: {counted}")
            lines.append(f"  {tool.how_to_get}")
    return lines


def files_left_out(paths: Iterable[Path]) -> list[str]:
    """The files at and below the paths with tests whose program is missing, a line for each program."""
    files = [
        file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("test_*.py")))
    ]
    lines = []
    for tool in TOOLS:
        needy = [str(file) for file in files if tool.name in _markers(file)]
        if needy and find_tool(os.environ, tool) is None:
            lines.append(f"not run: tests that need {tool.title} in {', '.join(needy)}; {tool.how_to_get}")
    return lines


class Programs:
    """The plug-in of pytest."""

    def __init__(self) -> None:
        self._left_out: LeftOut = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        for tool in TOOLS:
            config.addinivalue_line("markers", f"{tool.name}: needs {tool.title} ({tool.how_to_get})")

    # After -k and -m, so that only what would have run is counted.
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if in_ci(os.environ):
            return
        left_out: dict[str, Counter[str]] = {}
        dropped = []
        for item in items:
            missing = [tool for tool in needed_tools(item) if _is_missing(tool)]
            if missing:
                dropped.append(item)
                left_out.setdefault(missing[0].name, Counter())[_file(item)] += 1
        if dropped:
            items[:] = [item for item in items if item not in dropped]
            config.hook.pytest_deselected(items=dropped)
        self._left_out = left_out

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        for tool in needed_tools(item):
            if _is_missing(tool):
                pytest.fail(f"no {tool.title} found: {tool.how_to_get}", pytrace=False)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        # All workers collect the same.
        self._left_out = getattr(node, "workeroutput", {}).get(OUTPUT) or self._left_out

    # Outermost, so that these lines come after the last line of pytest's own.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None]:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[OUTPUT] = {name: dict(files) for name, files in self._left_out.items()}
        yield
        if output is None and self._left_out:
            if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
                session.exitstatus = pytest.ExitCode.OK
            _write(session.config, report_lines(self._left_out))


def _write(config: pytest.Config, lines: list[str]) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        for line in lines:
            terminal.write_line(line, yellow=True)


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _markers(file: Path) -> set[str]:
    """Names of the pytest markers in a file of tests."""
    attributes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
    return {
        node.attr
        for node in attributes
        if isinstance(node.value, ast.Attribute) and node.value.attr == "mark"
    }


@cache
def _is_missing(tool: Tool) -> bool:
    return find_tool(dict(os.environ), tool) is None


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in files_left_out(map(Path, sys.argv[1:])))
