"""Grafana says nothing of a provisioning file that it does not understand: the page just stays empty.

Grafana itself is not here. Its files are held against the format that its manual gives, against what Compose
mounts, and against what the dashboards ask for.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from kvchaos.prometheus.program import CONFIG, SOURCE
from tests.prometheus.grafana_queries import DASHBOARDS, FOLDER, read

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "compose"
PROVISIONING = COMPOSE / "grafana" / "provisioning"
IN_CONTAINER = PurePosixPath("/etc/grafana/provisioning")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PrometheusSettings(Strict):
    """`jsonData` of a data source of the type prometheus."""

    httpMethod: Literal["GET", "POST"] = "POST"  # noqa: N815 (Grafana's names)
    timeInterval: str  # noqa: N815
    queryTimeout: str | None = None  # noqa: N815
    manageAlerts: bool = True  # noqa: N815
    prometheusType: str | None = None  # noqa: N815
    prometheusVersion: str | None = None  # noqa: N815
    cacheLevel: str | None = None  # noqa: N815
    incrementalQuerying: bool = False  # noqa: N815


class DataSource(Strict):
    name: str = Field(min_length=1)
    type: Literal["prometheus"]
    access: Literal["proxy", "direct"]
    orgId: int = 1  # noqa: N815
    uid: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    url: str
    isDefault: bool = False  # noqa: N815
    editable: bool = False
    version: int = 1
    jsonData: PrometheusSettings  # noqa: N815


class DataSources(Strict):
    apiVersion: Literal[1]  # noqa: N815
    prune: bool = False
    datasources: list[DataSource] = Field(min_length=1)


class ProviderOptions(Strict):
    path: str
    foldersFromFilesStructure: bool = False  # noqa: N815


class Provider(Strict):
    name: str = Field(min_length=1)
    orgId: int = 1  # noqa: N815
    type: Literal["file"]
    folder: str = ""
    folderUid: str = ""  # noqa: N815
    disableDeletion: bool = False  # noqa: N815
    updateIntervalSeconds: int = Field(default=10, gt=0)  # noqa: N815
    allowUiUpdates: bool = False  # noqa: N815
    options: ProviderOptions


class Providers(Strict):
    apiVersion: Literal[1]  # noqa: N815
    providers: list[Provider] = Field(min_length=1)


def only(folder: str) -> Any:
    """The content of the only file that Grafana reads there."""
    files = [path for path in (PROVISIONING / folder).iterdir() if path.suffix in (".yaml", ".yml")]
    assert len(files) == 1
    return yaml.safe_load(files[0].read_text(encoding="utf-8"))


@pytest.fixture
def source() -> DataSource:
    (source,) = DataSources.model_validate(only("datasources")).datasources
    return source


@pytest.fixture
def provider() -> Provider:
    (provider,) = Providers.model_validate(only("dashboards")).providers
    return provider


@pytest.fixture
def service() -> dict[str, Any]:
    """Grafana as Compose starts it."""
    project = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    grafana: dict[str, Any] = project["services"]["grafana"]
    return grafana


def mounted(service: dict[str, Any]) -> dict[str, Path]:
    """Folders of the host by their place in the container."""
    return {mount["target"]: (COMPOSE / mount["source"]).resolve() for mount in service["volumes"]}


def test_datasource_url_is_the_compose_prometheus(source: DataSource, service: dict[str, Any]) -> None:
    assert source.url.startswith("$")
    assert source.url.strip("${}") in service["environment"]
    assert source.isDefault


def test_datasource_has_the_scrape_interval(source: DataSource) -> None:
    """It makes the stretch of a rate from that; with another one, rates would be empty or blurred."""
    config = yaml.safe_load((SOURCE / CONFIG).read_text(encoding="utf-8"))
    assert source.jsonData.timeInterval == config["global"]["scrape_interval"]


def test_dashboards_are_in_the_provisioned_folder(provider: Provider, service: dict[str, Any]) -> None:
    assert mounted(service)[provider.options.path] == FOLDER
    assert mounted(service)[str(IN_CONTAINER)] == PROVISIONING


def test_home_dashboard_exists(provider: Provider, service: dict[str, Any]) -> None:
    home = PurePosixPath(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider.options.path
    assert (FOLDER / home.name) in DASHBOARDS


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboard_uses_any_prometheus_datasource(path: Path, source: DataSource) -> None:
    board = read(path)
    (variable,) = (one for one in board["templating"]["list"] if one["type"] == "datasource")
    assert variable["query"] == source.type
    users = [target for panel in board["panels"] for target in panel.get("targets", ())]
    users += [
        *board["annotations"]["list"],
        *(v for v in board["templating"]["list"] if v["type"] == "query"),
    ]
    assert {user["datasource"]["uid"] for user in users} == {f"${{{variable['name']}}}"}


def test_dashboards_have_unique_uids() -> None:
    boards = [read(path) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards)
