"""A server that is already there: load and judges without starting, striking or ending anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from history import layout
from kvchaos.paths import state_folder
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.servers.server_registry import find_server
from kvchaos.stacks.prepare_server import LaunchRequest, PreparedServer, prepare_local
from kvchaos.stacks.process_registry import ProcessRegistry
from tests.server.bench import NEW, STARTED_S, Bench, RunDir, need

pytestmark = pytest.mark.server
SCENARIO = "baseline-offload"


@pytest.fixture(scope="module")
def external_server(server_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedServer]:
    """Started by somebody else, as far as the runs know."""
    folder = tmp_path_factory.mktemp("somebody")
    record = ProcessRegistry(
        state_folder(folder), run_id="somebody", run_dir=folder, control_dir=folder / layout.CONTROL
    )
    server, settings = find_server(need(NEW), server_cache), load_scenario(find_scenario(SCENARIO)).server
    settings = settings.model_copy(update={"chaos": False})
    made = prepare_local(LaunchRequest(server, settings, "somebody", folder, server_cache), record)
    try:
        made.stack.start()
        made.stack.wait_ready(STARTED_S)
        yield made
    finally:
        made.stack.stop()
        record.close()


@pytest.mark.prometheus
def test_run_on_a_used_attached_server_counts_its_own_requests(
    external_server: PreparedServer, bench: Bench
) -> None:
    """Each run asks prompts of its own, so that what a server has cached of an earlier one is not found."""
    url = external_server.launch.base_url
    attach = ("--stack", "attach", "--url", url, "--prometheus", "--repeat", "2")
    finished = bench.run("run", SCENARIO, *attach)
    assert finished.code == 0, finished.out
    # The address makes their names too long for a row of 80 columns.
    one, two = (RunDir(path) for path in sorted(bench.runs.iterdir()))
    for run in (one, two):
        verdicts = {result.oracle: result.verdict for result in run.verdict.results}
        assert verdicts["accounting"] == verdicts["offload-used"] == verdicts["answers"] == "pass"
        assert verdicts["metrics-crosscheck"] == "pass"
        assert {"logs", "resources"}.isdisjoint(verdicts)
        assert run.history.plan.command == ()
    assert one.verdict.seed != two.verdict.seed
    assert one.history.plan.preceded_by == ()
    assert two.history.plan.preceded_by == (one.path.name,)
    assert external_server.stack.alive()
