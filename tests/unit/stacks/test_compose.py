"""What is told to Docker, and what is made of its answers. Real containers are in tests/compose."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest
import yaml
from docker.errors import NotFound
from docker.models.containers import Container

from history.events import ContainerAction
from kvchaos.errors import UsageError
from kvchaos.servers.releases import TABLE
from kvchaos.stacks.compose import image_builder
from kvchaos.stacks.compose.compose_stack import ComposeOptions, ComposeStack
from kvchaos.stacks.compose.docker_engine import ContainerEvents
from kvchaos.stacks.compose.images import build_variables, images_of
from kvchaos.stacks.compose.project import escaped, project_files, server_part
from kvchaos.stacks.process_group import PROC
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.process_usage import container_resources
from kvchaos.stacks.server_command import Launch


def test_a_dollar_in_a_command_is_no_variable() -> None:
    part = server_part(Launch(("serve", "--name", "$HOME"), {"A": "${B}"}, 1), Path("/models/$x"))
    (service,) = cast(dict[str, dict[str, dict[str, Any]]], escaped(part))["services"].values()
    assert service["command"] == ["serve", "--name", "$$HOME"]
    assert service["environment"] == {"A": "$${B}"}
    assert service["volumes"][0]["source"] == "/models/$$x"


def test_hub_model_needs_no_mounted_folder() -> None:
    assert "volumes" not in str(server_part(Launch(("serve",), {}, 1), None))


def test_compose_files_are_packaged() -> None:
    files = project_files("cpu", "gpu", "prometheus")
    assert all(yaml.safe_load(path.read_text()) for path in files)


def test_changed_recipe_changes_the_image_tag() -> None:
    def tag(version: str, **environ: str) -> str:
        return images_of("cpu", version, build_prometheus=True, environ=environ).server

    assert tag("0.32.0") == tag("0.32.0")
    assert tag("0.32.0").startswith("kvchaos-server-cpu:0.32.0-")
    assert len({tag("0.32.0"), tag("0.31.0"), tag("0.32.0", KVCHAOS_BASE_IMAGE="mine:1")}) == 3


def test_upstream_images_are_pinned_and_replaceable() -> None:
    gpu = images_of("cuda", "0.33.0", build_prometheus=False, environ={})
    assert (gpu.server, gpu.prometheus_is_built) == ("vllm/vllm-openai:v0.33.0", False)
    assert "latest" not in f"{gpu}"
    own = {"KVCHAOS_SERVER_IMAGE": "mine:1", "KVCHAOS_PROMETHEUS_IMAGE": "mine:2"}
    mine = images_of("cuda", "0.33.0", build_prometheus=False, environ=own)
    assert (mine.server, mine.prometheus) == ("mine:1", "mine:2")


@pytest.mark.parametrize(("platform", "version"), [("cpu", "0.99.0"), ("cuda", "nightly")])
def test_a_release_that_has_no_image_is_named(platform: Any, version: str) -> None:
    with pytest.raises(UsageError, match=version):
        images_of(platform, version, build_prometheus=False, environ={})


def test_image_build_gets_the_variables_of_an_installation(tmp_path: Path) -> None:
    variables = build_variables(
        TABLE["0.16.0"], {"PIP_FIND_LINKS": str(tmp_path), "SSL_CERT_FILE": "/certificates.pem"}
    )
    assert variables == {
        "KVCHAOS_RELEASE": "0.16.0",
        "KVCHAOS_TORCH": "2.10.0",
        "KVCHAOS_LEFT_OUT": " ".join(("torchaudio", "torchcodec", "torchvision")),
        "KVCHAOS_STUB": "yes",
        "KVCHAOS_WHEELS": str(tmp_path),
        "KVCHAOS_CA": "/certificates.pem",
    }


def test_container_preloads_libraries_of_its_image() -> None:
    server = image_builder.server_of("cpu", "0.32.0", None)
    assert server.preload == tuple(image_builder.LIBRARIES.values())
    assert (server.kind, server.platform, str(server.python)) == ("image", "cpu", "/opt/vllm/bin/python")
    assert image_builder.server_of("cuda", "0.33.0", None).preload == ()


class FakeApi:
    """Answers with the events of a window, as the engine does; both ends count."""

    def __init__(self, *times_ns: int) -> None:
        self.times_ns = times_ns

    def events(self, **filters: object) -> list[dict[str, Any]]:
        attributes = {"com.docker.compose.service": "server", "exitCode": "137", "image": "x"}
        return [
            {"Action": "die", "timeNano": t_ns, "Actor": {"ID": "0123456789abcdef", "Attributes": attributes}}
            for t_ns in self.times_ns
        ]


def test_each_container_event_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 100)
    api = FakeApi(90, 101, 103)
    container_events = ContainerEvents(cast(docker.DockerClient, SimpleNamespace(api=api)), "p")
    first = list(container_events.new())
    assert [event.at_ns for event in first] == [101, 103]
    assert first[0] == ContainerAction(
        action="die", service="server", container="0123456789ab", at_ns=101, code=137
    )
    api.times_ns = (103, 104)
    assert [event.at_ns for event in container_events.new()] == [104]


def test_container_processes_are_verified_by_their_cgroup() -> None:
    me = os.getpid()
    group = (PROC / "self" / "cgroup").read_text().splitlines()[0]
    resources = container_resources(me, group)
    assert resources is not None
    assert (resources.leader, resources.processes >= 1, resources.files > 0) == (me, True, True)
    # An engine in a machine of its own may have told the id of any process of ours.
    assert container_resources(me, "0123456789abcdef") is None
    assert container_resources(2**22 + 1, group) is None


class FakeContainer:
    """A server's container in some state."""

    def __init__(self, **state: object) -> None:
        self.attrs = {"State": state}
        self.gone = False

    def reload(self) -> None:
        if self.gone:
            raise NotFound("no such container")


def stack_with(container: FakeContainer, record: ProcessRegistry) -> ComposeStack:
    client = SimpleNamespace(api=FakeApi())
    launch = Launch((), {}, 1)
    stack = ComposeStack(
        cast(docker.DockerClient, client), ComposeOptions("p"), launch, record.path.parent, record
    )
    stack._server = cast(Container, container)
    return stack


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"Running": True, "ExitCode": 0}, None),
        ({"Running": True, "Paused": True, "ExitCode": 0}, None),
        ({"Running": False, "ExitCode": 0}, 0),
        ({"Running": False, "ExitCode": 1}, 1),
        ({"Running": False, "ExitCode": 137}, -9),
        ({"Running": False, "ExitCode": 143}, -15),
    ],
)
def test_exit_code_of_a_signalled_container_is_negative(
    record: ProcessRegistry, state: dict[str, object], code: int | None
) -> None:
    stack = stack_with(FakeContainer(**state), record)
    assert stack.exit_code() == code
    assert stack.alive() is (code is None)


def test_externally_removed_container_is_dead(record: ProcessRegistry) -> None:
    container = FakeContainer(Running=True, ExitCode=0)
    stack = stack_with(container, record)
    assert stack.alive()
    container.gone = True
    assert stack.exit_code() == -9


@pytest.fixture
def record(tmp_path: Path) -> ProcessRegistry:
    return ProcessRegistry(
        tmp_path / "state", run_id="r1", run_dir=tmp_path, control_dir=tmp_path / "control"
    )


def test_a_record_stays_while_a_project_is_up(record: ProcessRegistry) -> None:
    record.add_project("p")
    record.add_project("p")
    record.close()
    assert record.state.projects == ("p",)
    assert record.path.exists()
    record.drop_project("p")
    record.close()
    assert not record.path.exists()
