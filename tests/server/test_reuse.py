"""Two scenarios on one real server: each run is judged as on a server of its own, and stands by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from history import layout
from history.events import CleanState, ServerStart
from history.reader import read_history
from kvchaos.campaign.server_pool import FIRST_RUN
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.stacks.process_group import read_process
from kvchaos.stacks.process_registry import RunState
from oracles.views.windows import run_window
from tests.server.bench import CAMPAIGN_S, NEW, STARTED_S, Bench, RunDir, need, wait_for
from tests.support.vllm_lines import STARTED

pytestmark = [pytest.mark.server, pytest.mark.timeout(CAMPAIGN_S)]
PAIR = ("baseline-offload", "corruption-canary")
GENERATED = "vllm:generation_tokens_total"


@pytest.fixture(scope="module")
def shared(server_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[RunDir]:
    """Both on one server."""
    finished = Bench(tmp_path_factory.mktemp("shared"), server_cache).run_several(PAIR, NEW)
    assert finished.code == 0, finished.out + finished.err
    return finished.runs()


@pytest.fixture(scope="module")
def alone(server_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[RunDir]:
    """Each on a server of its own."""
    bench = Bench(tmp_path_factory.mktemp("alone"), server_cache)
    finished = bench.run("run", *PAIR, "--server", need(NEW), "--seed", "11", "--fresh")
    assert finished.code == 0, finished.out + finished.err
    return finished.runs()


def test_second_run_reuses_the_server_of_the_first(shared: list[RunDir]) -> None:
    one, two = shared
    assert one.history.plan.fresh_because == FIRST_RUN
    assert two.history.plan.preceded_by == (one.path.name,)
    pids = [run.event(ServerStart).data.pid for run in shared]
    assert pids[0] == pids[1]
    assert one.event(CleanState).data == CleanState(clean=True, objections=[])


def test_verdicts_equal_those_of_fresh_servers(shared: list[RunDir], alone: list[RunDir]) -> None:
    assert [run.event(ServerStart).data.kept for run in alone] == [False, False]
    for used, fresh in zip(shared, alone, strict=True):
        verdicts = [
            {result.oracle: result.verdict for result in run.verdict.results} for run in (used, fresh)
        ]
        assert verdicts[0] == verdicts[1]


def test_counts_of_the_second_run_start_at_its_start(shared: list[RunDir]) -> None:
    one, two = (run.history for run in shared)
    grown = [run_window(history).growth(GENERATED) for history in (one, two)]
    assert grown == [sum(len(record.token_ids) for record in history.requests) for history in (one, two)]
    assert two.metrics.total(len(two.metrics) - 1, GENERATED) == sum(each or 0.0 for each in grown)


def test_second_run_has_a_separate_log_section(shared: list[RunDir]) -> None:
    one, two = (run.history.log for run in shared)
    assert any(STARTED in line for line in one)
    assert not any(STARTED in line for line in two)
    assert any("POST /v1/completions" in line for line in two)


def test_second_run_is_judged_alike_without_the_first(shared: list[RunDir], tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(shared[1].path, moved, symlinks=True)
    before = (shared[1].path / layout.VERDICT).read_bytes()
    assert read_history(moved).changed == ()
    assert judge_run_dir(moved) == msgspec.json.decode(before, type=type(shared[1].verdict))


def test_clean_after_a_kill_in_the_second_run_leaves_no_process(bench: Bench) -> None:
    conductor = bench.start("run", *PAIR, "--server", need(NEW), "--seed", "11")
    try:
        wait_for(lambda: _takes_over(bench), STARTED_S)
        [path] = bench.records()
        state = msgspec.json.decode(path.read_bytes(), type=RunState)
    finally:
        conductor.process.kill()
        conductor.process.communicate()
        cleaned = bench.run("clean")
    assert cleaned.code == 0, cleaned.out + cleaned.err
    assert state.run_id.startswith(PAIR[1])
    assert {group.what for group in state.groups} == {"server", "load"}
    left = [process for group in state.groups if (process := read_process(group.leader)) and process.runs]
    assert left == []
    assert not any(Path(folder).exists() for folder in state.temp_folders)
    assert bench.records() == []


def _takes_over(bench: Bench) -> bool:
    """Whether the second run has the server of the first and has begun its load."""
    for folder in bench.runs.glob(f"{PAIR[1]}*"):
        events = folder / layout.EVENTS
        return events.exists() and b'"phase_start"' in events.read_bytes()
    return False
