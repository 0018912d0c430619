"""Does what the chaos module overrides exist in vLLM, and does it overlook nothing?"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any
from unittest import mock

import vllm
from packaging.version import Version

from chaos.hostcopy import generation
from tests.server.contract.bench import Bench

EXPECTED = {Version("0.18.0"): "G2", Version("0.32.0"): "G8"}


def generation_is_told_by_what_is_installed(bench: Bench) -> None:
    expected = EXPECTED[Version(Version(vllm.__version__).public)]
    assert generation.detect() == expected == bench.name


def unknown_generation_ends_with_one_clear_line(bench: Bench) -> None:
    def gone(name: str) -> None:
        raise ModuleNotFoundError(name)

    for stand_in in (lambda name: None, lambda name: object() if name.endswith(".abstract") else None, gone):
        with mock.patch.object(generation, "find_spec", stand_in):
            try:
                found = generation.detect()
            except generation.UnknownGeneration as error:
                text = str(error)
                assert "\n" not in text, text
                assert "0.18 (G2)" in text, text
                assert "0.26 to 0.32 (G8)" in text, text
            else:
                raise AssertionError(f"taken for {found}")


def adapter_offers_what_the_connector_uses(bench: Bench) -> None:
    from chaos.inside import spec

    assert bench.name == spec.adapter.NAME
    assert spec.ChaosSpec is spec.adapter.ChaosSpec
    assert spec.ChaosSpec.__name__ == "ChaosSpec"
    metadata = bench.load_metadata("cmpl-1", [4, 2])
    assert list(spec.adapter.loads(metadata)) == [("cmpl-1", [4, 2])]


def manager_forwards_every_method_of_vllm(bench: Bench) -> None:
    # A method that is left out would answer with the base's default instead of the wrapped manager's word.
    assert missing(bench.chaos_manager, bench.manager_base) == []
    assert list(misfits(bench.chaos_manager, bench.manager_base)) == []


def workers_have_every_method_of_vllm(bench: Bench) -> None:
    for own, base in bench.worker_pairs:
        abstract = set(getattr(base, "__abstractmethods__", ()))
        assert abstract <= vars(own).keys(), f"{own.__name__} lacks {abstract - vars(own).keys()}"
        assert list(misfits(own, base)) == []
        if own.__name__.startswith("Chaos"):
            assert missing(own, base) == []


def spec_overrides_only_what_is_there(bench: Bench) -> None:
    from chaos.hostcopy.spec import HostCopySpec
    from chaos.inside.spec import ChaosSpec

    vllm_spec = HostCopySpec.__mro__[1]
    assert vllm_spec.__name__ == "CPUOffloadingSpec"
    for own in (ChaosSpec, HostCopySpec):
        assert list(misfits(own, vllm_spec)) == []


def missing(own: type[Any], base: type[Any]) -> list[str]:
    """Public methods of the base that a wrapper leaves to the base."""
    return [name for name in _methods(base) if name not in vars(own)]


def misfits(own: type[Any], base: type[Any]) -> Iterator[str]:
    """Public methods that the base does not have, or that cannot be called as the base's."""
    for name, method in _methods(own).items():
        theirs = getattr(base, name, None)
        if theirs is None:
            yield f"{own.__name__}.{name}: no such method in {base.__name__}"
        elif not _fits(inspect.signature(method), inspect.signature(theirs)):
            yield f"{own.__name__}.{name}{inspect.signature(method)}: not as {inspect.signature(theirs)}"


def _methods(kind: type[Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def _fits(own: inspect.Signature, base: inspect.Signature) -> bool:
    """Whether every call that the base takes is taken: same names in the same order, no more demanded."""
    mine, theirs = list(own.parameters.values()), list(base.parameters.values())
    if [parameter.name for parameter in mine[: len(theirs)]] != [parameter.name for parameter in theirs]:
        return False
    for one, other in zip(mine, theirs, strict=False):
        if one.kind is not other.kind or (
            one.default is inspect.Parameter.empty and other.default is not inspect.Parameter.empty
        ):
            return False
    return all(parameter.default is not inspect.Parameter.empty for parameter in mine[len(theirs) :])


CHECKS = (
    generation_is_told_by_what_is_installed,
    unknown_generation_ends_with_one_clear_line,
    adapter_offers_what_the_connector_uses,
    manager_forwards_every_method_of_vllm,
    workers_have_every_method_of_vllm,
    spec_overrides_only_what_is_there,
)
