"""Without an engine or an image, the test in Grafana fails with one line: which image, why, what to do.

The engine and `docker pull` are replaced; the reason that the latter prints is a fixed input.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import docker
import pytest
from docker.errors import ImageNotFound

from kvchaos.errors import UsageError
from tests.grafana.grafana_images import ensure_grafana_images, main
from tests.support.fake_programs import write_program

REASON = "Error response from daemon: failed to resolve reference: no such host"


def engine(*present: str) -> MagicMock:
    """An engine that has these images."""
    client = MagicMock(spec=docker.DockerClient)

    def get(image: str) -> None:
        if image not in present:
            raise ImageNotFound(image)

    client.images.get.side_effect = get
    return client


def test_image_that_cannot_be_pulled_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_program(
        tmp_path / "docker", f"#!/bin/sh\necho pulling >&2\necho '{REASON}' >&2\nexit 1\n"
    )
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(UsageError) as failed:
        ensure_grafana_images(engine("grafana/grafana:12.4.10"), ["12.4.10", "13.2.3"])
    assert str(failed.value) == (
        f"image grafana/grafana:13.2.3 cannot be pulled: {REASON}; "
        "run this where its registry can be reached, or copy the image with docker save and docker load"
    )


def test_images_that_the_engine_has_are_not_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(tmp_path / "docker", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    ensure_grafana_images(engine("grafana/grafana:13.2.3"), ["13.2.3"])


def test_missing_engine_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert main() == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("test-grafana: the tests in Grafana need a Docker engine")
    assert "unix:///nowhere.sock" in line
