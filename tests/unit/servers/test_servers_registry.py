"""The registry: a wrong or stale note must end in one line with the command that mends it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from packaging.version import Version

from kvchaos.errors import UsageError
from kvchaos.servers.server_registry import (
    MARKER,
    ServerEnv,
    find_server,
    list_servers,
    logprob_tolerance,
    server_folder,
    write_server,
)


def note(cache: Path, name: str, vllm: str = "0.32.0") -> ServerEnv:
    """Write down a server whose interpreter exists."""
    folder = server_folder(name, cache)
    folder.mkdir(parents=True)
    python = folder / "python"
    python.touch()
    server = ServerEnv(
        name=name,
        kind="installed",
        vllm=vllm,
        torch="2.13.0+cpu",
        python=python,
        python_version="3.11.7",
        preload=(),
        entry_module="vllm.entrypoints.openai.api_server",
    )
    write_server(folder, server)
    return server


def test_server_marker_round_trips(cache: Path) -> None:
    assert find_server("mine", cache_with(cache, "mine")).name == "mine"
    assert list_servers(cache) == [find_server("mine", cache)]


def cache_with(cache: Path, *names: str) -> Path:
    for name in names:
        note(cache, name)
    return cache


@pytest.mark.parametrize("name", ["", "..", "../etc", "a/b", ".hidden", "-x", "a b", "x" * 65])
def test_server_name_cannot_escape_the_cache(cache: Path, name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(name))):
        server_folder(name, cache)


def test_an_unknown_key_in_a_marker_is_an_error(cache: Path) -> None:
    marker = server_folder(note(cache, "mine").name, cache) / MARKER
    marker.write_text(marker.read_text().replace('"kind"', '"colour": "red", "kind"'))
    with pytest.raises(UsageError, match="colour"):
        find_server("mine", cache)


def test_invalid_version_is_an_error(cache: Path) -> None:
    marker = server_folder(note(cache, "mine").name, cache) / MARKER
    marker.write_text(marker.read_text().replace('"0.32.0"', '"main"'))
    with pytest.raises(UsageError, match="main"):
        find_server("mine", cache)


def test_server_without_its_interpreter_is_not_returned(cache: Path) -> None:
    server = note(cache, "mine")
    server.python.unlink()
    with pytest.raises(UsageError, match=str(server.python)):
        find_server("mine", cache)


def test_the_label_of_a_build_does_not_hide_the_release() -> None:
    fields = {
        "name": "x",
        "kind": "added",
        "torch": "2",
        "python": Path("/p"),
        "python_version": "3.12.1",
        "preload": (),
        "entry_module": "m",
    }
    assert ServerEnv.model_validate({**fields, "vllm": "0.18.0+cpu"}).release == Version("0.18.0")
    nightly = ServerEnv.model_validate({**fields, "vllm": "0.34.0.dev7+gabc"})
    assert nightly.release == Version("0.34.0.dev7")


def test_servers_are_listed_by_release_and_unfinished_ones_are_not(cache: Path) -> None:
    note(cache, "a-new", "0.100.0")
    note(cache, "b-old", "0.18.0")
    (cache / "servers" / "0.20.0").mkdir()
    assert [server.name for server in list_servers(cache)] == ["b-old", "a-new"]


@pytest.mark.parametrize(
    ("name", "kind", "flags", "tolerance"),
    [
        ("0.16.0", "installed", "fpu avx2 avx512f", 2e-5),
        ("0.18.0", "installed", "fpu avx2 avx512f", 0.0),
        ("0.18.0", "installed", "fpu avx2 avx512_x", 2e-5),
        ("0.16.0", "added", "fpu avx2", 0.0),
        ("mine", "added", "fpu avx2", 0.0),
    ],
)
def test_only_a_known_inexact_build_gets_a_tolerance(
    cache: Path, name: str, kind: Literal["installed", "added"], flags: str, tolerance: float
) -> None:
    cpuinfo = cache / "cpuinfo"
    server = note(cache, name).model_copy(update={"kind": kind})
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert logprob_tolerance(server, cpuinfo) == tolerance
