"""Options of `pytest tests/e2e`: which server, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.paths import cache_folder
from kvchaos.planning.scenario_file import scenario_files
from kvchaos.servers.server_registry import ServerEnv, find_server


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kvchaos")
    group.addoption("--stack", choices=["local"], default="local", help="where the server comes from")
    group.addoption("--server", default="0.32.0", help="server environment; see: kvchaos server list")
    group.addoption("--seed", type=int, default=1, help="decides everything that is left to chance")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "scenario_file" in metafunc.fixturenames:
        files = scenario_files()
        metafunc.parametrize("scenario_file", files, ids=[path.stem for path in files])


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> ServerEnv:
    return find_server(pytestconfig.getoption("--server"), cache_folder())


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    chosen: int = pytestconfig.getoption("--seed")
    return chosen


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")
