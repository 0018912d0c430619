"""An idle module is out of the way: the engine calls no function more than without the module."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.idle_cost.call_counts import count_calls
from benchmarks.idle_cost.measured_server import BenchFolders
from kvchaos.servers.server_registry import find_server
from tests.server.bench import RELEASES, STARTED_S

pytestmark = [pytest.mark.server, pytest.mark.timeout(STARTED_S + 100)]


@pytest.mark.parametrize("release", RELEASES)
def test_idle_module_adds_no_call_and_an_armed_one_does(
    release: str, server_cache: Path, tmp_path: Path
) -> None:
    server = find_server(release, server_cache)
    calls = count_calls(server, BenchFolders(server_cache, tmp_path / "runs"))
    assert calls["idle"] == calls["absent"]
    assert calls["armed"][0] > calls["absent"][0]
