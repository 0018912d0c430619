"""A killed conductor must leave nothing once `kvchaos clean` has run; `tests.server.kills` does a hundred."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.bench import NEW, local_scenarios, need
from tests.server.kills import Kill, kill_in_time, planned

pytestmark = pytest.mark.server

COUNT = 2
SEED = 7


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """What a server's sockets lie in must have a short path."""
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("kill", planned(COUNT, SEED, local_scenarios()), ids=lambda kill: kill.moment)
def test_kill_and_clean_leave_no_process_or_shared_memory(
    kill: Kill, short_folder: Path, server_cache: Path
) -> None:
    outcome = kill_in_time(kill, need(NEW), short_folder, server_cache)
    assert outcome.before.records, "the kill came before anything was there to be left"
    assert outcome.tidy, outcome.line()
