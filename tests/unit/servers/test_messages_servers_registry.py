"""What is said of a server that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.servers.server_registry import (
    MARKER,
    find_server,
    server_folder,
)
from tests.unit.servers.test_servers_registry import note


def test_a_missing_release_is_answered_with_its_install_command(cache: Path) -> None:
    with pytest.raises(UsageError, match=r"install it with: kvchaos server install 0\.18\.0"):
        find_server("0.18.0", cache)


def test_a_missing_name_is_answered_with_list_and_add(cache: Path) -> None:
    with pytest.raises(
        UsageError, match="server list; add one with: kvchaos server add nightly --python PATH"
    ):
        find_server("nightly", cache)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Invalid JSON"),
        ("{}", "name: Field required"),
        ('{"vllm": "main"}', "server.json"),
    ],
)
def test_broken_marker_names_file_and_repair_command(cache: Path, text: str, complaint: str) -> None:
    server = note(cache, "mine")
    marker = server_folder(server.name, cache) / MARKER
    marker.write_text(text)
    with pytest.raises(UsageError, match="kvchaos server remove mine") as caught:
        find_server("mine", cache)
    assert complaint in str(caught.value)
    assert str(marker) in str(caught.value)
    assert "\n" not in str(caught.value)
