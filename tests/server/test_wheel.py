"""The wheel, installed alone outside the checkout, brings up a real server and judges what it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.wheel import Installation, build, install
from tests.server.bench import NEW, Finished, need

pytestmark = [pytest.mark.server, pytest.mark.timeout(1200)]
RUN_S = 500.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(build(tmp_path_factory.mktemp("dist")), tmp_path_factory.mktemp("alone"))


def test_wheel_alone_runs_a_scenario_to_the_expected_verdict(
    installed: Installation, server_cache: Path
) -> None:
    run = installed.kvchaos(
        "run", "--server", need(NEW), "baseline-offload", cache=server_cache, deadline_s=RUN_S
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = Finished(run.returncode, run.stdout, run.stderr).run()
    assert found.verdict.outcome == "as expected"
    assert found.history.plan.versions.git == "unknown", "code of a checkout ran"
    assert found.path.is_relative_to(installed.folder)
