"""The wrong adapter on a release would break the server, or worse, break it a little."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.hostcopy.generation import GENERATIONS, Generation, UnknownGeneration, detect
from chaos.inside.request_states import loads
from kvchaos.servers.releases import known_releases
from tests.support.plugin_shapes import HASH_MANAGER, KEY_MANAGER, SHAPES, WITH_CONFIG, Files, name, put

Install = Callable[[Files], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a vLLM that holds only these modules of the plug-in API in the interpreter's way."""
    _forget()
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda files: put(files, tmp_path)
    _forget()


def _forget() -> None:
    detect.cache_clear()
    for module in [module for module in sys.modules if module.split(".")[0] == "vllm"]:
        del sys.modules[module]


@pytest.mark.parametrize("generation", SHAPES)
def test_each_plug_in_api_generation_is_detected(generation: str, install: Install) -> None:
    install(SHAPES[generation])
    assert detect().name == generation


def test_every_generation_has_a_plug_in_api_in_this_test() -> None:
    assert [generation.name for generation in GENERATIONS] == list(SHAPES)


def test_every_installable_release_is_named_by_one_generation() -> None:
    minors = [minor for generation in GENERATIONS for minor in _minors(generation)]
    assert len(minors) == len(set(minors))
    assert {release.split(".")[1] for release in known_releases()} <= set(minors)


def _minors(generation: Generation) -> list[str]:
    ends = [one.split(".")[1] for one in generation.releases.split() if one.startswith("0.")]
    return [str(minor) for minor in range(int(ends[0]), int(ends[-1]) + 1)]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"abstract": HASH_MANAGER},
        {**WITH_CONFIG, "base": WITH_CONFIG["base"].replace("(self, key, req_context)", "(self, keys)")},
        {**WITH_CONFIG, "base": WITH_CONFIG["base"].replace("submit_load(self)", "submit_fetch(self)")},
        {**WITH_CONFIG, "base": KEY_MANAGER + name("LookupResult")},
        {**SHAPES["G4"], "abstract": HASH_MANAGER + name("OffloadKey")},
    ],
    ids=["nothing", "half", "other lookup", "other copies", "no worker", "keys asked as hashes"],
)
def test_unknown_plug_in_api_is_refused_in_one_line(files: Files, install: Install) -> None:
    install(files)
    with pytest.raises(UnknownGeneration) as caught:
        detect()
    assert "\n" not in str(caught.value)


def test_refusal_names_the_supported_releases(install: Install) -> None:
    install({})
    with pytest.raises(UnknownGeneration, match=r"0\.16 and 0\.17 \(G1\).* 0\.33 \(G9\)"):
        detect()


def test_connector_classes_are_found_in_every_module_layout(install: Install) -> None:
    install(SHAPES["G3"])
    assert detect().offered("OffloadingManager").__module__ == "vllm.v1.kv_offload.abstract"
    assert detect().offered("OffloadingHandler").__module__ == "vllm.v1.kv_offload.worker.worker"
    with pytest.raises(UnknownGeneration, match=r"0\.19 \(G3\).* OffloadingWorker"):
        detect().offered("OffloadingWorker")


class BlockIds(list[int]):
    """Stands in for numpy's array."""

    def tolist(self) -> list[int]:
        return list(self)


def spec(*blocks: int) -> Any:
    return SimpleNamespace(block_ids=BlockIds(blocks))


@pytest.mark.parametrize(
    "metadata",
    [
        SimpleNamespace(reqs_to_load={"r": (spec(9), spec(4, 2))}, reqs_to_store={"s": (spec(1), spec(3))}),
        SimpleNamespace(load_jobs={7: SimpleNamespace(req_id="r", transfer_spec=(spec(9), spec(4, 2)))}),
        SimpleNamespace(load_jobs={7: SimpleNamespace(req_id="r", src_spec=spec(9), dst_spec=spec(4, 2))}),
        SimpleNamespace(
            load_jobs={
                7: SimpleNamespace(req_id="r", src_spec=spec(9), dst_spec=spec(4, 2), sync=False),
                8: SimpleNamespace(req_id="s", src_spec=spec(9), dst_spec=spec(5), sync=True),
            }
        ),
    ],
    ids=["to 0.20", "to 0.24", "to 0.32", "0.33"],
)
def test_fallible_load_carries_its_device_blocks(metadata: Any) -> None:
    assert list(loads(metadata)) == [("r", [4, 2])]
