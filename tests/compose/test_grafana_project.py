"""The project of the tests in Grafana, as Compose resolves it. No engine and no image is needed."""

from __future__ import annotations

import pytest
import yaml

from kvchaos.paths import cache_folder, state_folder
from kvchaos.stacks.compose.project import RUN_LABEL, STATE_LABEL
from tests.boards.panel_bundles import VERSIONS
from tests.grafana.grafana_container import grafana_project
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.compose


@pytest.mark.parametrize("version", VERSIONS)
def test_grafana_has_the_version_loopback_address_provisioned_files_and_labels(version: str) -> None:
    resolved = grafana_project("grafana-test", version, 9191, 3131).resolved()
    service = yaml.safe_load(resolved)["services"]["grafana"]
    assert service["image"] == f"grafana/grafana:{version}"
    assert service["network_mode"] == "host"
    environment = service["environment"]
    assert (environment["GF_SERVER_HTTP_ADDR"], environment["GF_SERVER_HTTP_PORT"]) == ("127.0.0.1", "3131")
    assert environment["KVCHAOS_PROMETHEUS_URL"] == "http://127.0.0.1:9191"
    assert {mount["source"] for mount in service["volumes"]} == {
        str(ROOT / "compose/grafana/provisioning"),
        str(ROOT / "dashboards"),
    }
    assert service["labels"] == {
        RUN_LABEL: "grafana-test",
        STATE_LABEL: str(state_folder(cache_folder())),
    }
