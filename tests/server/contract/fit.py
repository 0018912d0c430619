"""Does what the chaos module overrides exist in vLLM, and does it overlook nothing?"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any
from unittest import mock

import vllm

from chaos.hostcopy import generation
from chaos.inside.contract_cases import problems
from chaos.inside.inside_kinds import KINDS
from tests.server.contract.bench import Bench
from tests.server.contract.generations import generation_of
from tests.server.contract.shapes.transfers import load_metadata

LATER = {"reset_cache": ("G4", "G5")}
"""Methods that the base has later only, and generations with releases that never call them."""
PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def generation_is_detected_by_what_is_installed(bench: Bench) -> None:
    assert generation.detect().name == generation_of(vllm.__version__)


def unknown_generation_ends_with_one_clear_line(bench: Bench) -> None:
    def gone(name: str) -> None:
        raise ModuleNotFoundError(name)

    # No plug-in API at all, one that moved away, and one with all the marks that asks differently.
    for name, stand_in in (
        ("find_spec", lambda name: None),
        ("find_spec", gone),
        ("_speaks", lambda known: False),
    ):
        generation.detect.cache_clear()
        with mock.patch.object(generation, name, stand_in):
            try:
                found = generation.detect()
            except generation.UnknownGeneration as error:
                text = str(error)
                assert "\n" not in text, text
                assert "0.18 (G2)" in text, text
                assert "0.26 to 0.32 (G8)" in text, text
            else:
                raise AssertionError(f"taken for {found}")
            finally:
                generation.detect.cache_clear()


def modules_offer_what_the_connector_uses(bench: Bench) -> None:
    from chaos.inside import spec
    from chaos.inside.request_states import loads

    assert bench.name == spec.generation.name
    assert spec.ChaosSpec.__name__ == "ChaosSpec"
    assert spec.ChaosManager is bench.chaos_manager
    metadata = load_metadata("cmpl-1", [4, 2])
    assert list(loads(metadata)) == [("cmpl-1", [4, 2])]


def manager_forwards_every_method_of_vllm(bench: Bench) -> None:
    # What the wrapper does not define itself must reach the wrapped manager, not the default of some base.
    assert shadowed(bench.chaos_manager, bench.manager_base) == []
    assert list(misfits(bench.chaos_manager, bench.manager_base)) == []


def workers_have_every_method_of_vllm(bench: Bench) -> None:
    for own, base in bench.worker_pairs:
        abstract = set(getattr(base, "__abstractmethods__", ()))
        assert abstract <= vars(own).keys(), f"{own.__name__} lacks {abstract - vars(own).keys()}"
        assert list(misfits(own, base)) == []
        if own.__name__.startswith("Chaos"):
            assert shadowed(own, base) == []


def spec_overrides_only_what_is_there(bench: Bench) -> None:
    from chaos.hostcopy.spec import HostCopySpec
    from chaos.inside.spec import ChaosSpec

    vllm_spec = HostCopySpec.__mro__[1]
    assert vllm_spec.__name__ == "CPUOffloadingSpec"
    for own in (ChaosSpec, HostCopySpec):
        assert list(misfits(own, vllm_spec)) == []


def shadowed(own: type[Any], base: type[Any]) -> list[str]:
    """Public methods of the base that neither the wrapper answers itself nor its inner object."""
    return [name for name in _methods(base) if hasattr(own, name) and name not in vars(own)]


def misfits(own: type[Any], base: type[Any]) -> Iterator[str]:
    """Public methods that the base does not have, or that cannot be called as the base's."""
    for name, method in _methods(own).items():
        theirs = getattr(base, name, None)
        if theirs is None and generation.detect().name in LATER.get(name, ()):
            continue
        if theirs is None:
            yield f"{own.__name__}.{name}: no such method in {base.__name__}"
        elif not _fits(inspect.signature(method), inspect.signature(theirs)):
            yield f"{own.__name__}.{name}{inspect.signature(method)}: not as {inspect.signature(theirs)}"


def _methods(kind: type[Any]) -> dict[str, Any]:
    """The functions that a class defines itself, by name."""
    return {
        name: value
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def _fits(own: inspect.Signature, base: inspect.Signature) -> bool:
    """Whether the shortest and the longest call that the base takes are taken, by place and by name."""
    named = [parameter for parameter in base.parameters.values() if parameter.kind in PLAIN]
    needed = [parameter for parameter in named if parameter.default is inspect.Parameter.empty]
    optional = {parameter.name: None for parameter in named if parameter not in needed}
    try:
        own.bind(*needed)
        own.bind(*named)
        own.bind(*needed, **optional)
    except TypeError:
        return False
    return True


def every_fault_keeps_its_contract_cases(bench: Bench) -> None:
    found = {kind.name: list(problems(kind)) for kind in KINDS.values()}
    wrong = {name: [case for case in cases if case[1] is not None] for name, cases in found.items()}
    assert not any(wrong.values()), wrong


CHECKS = (
    generation_is_detected_by_what_is_installed,
    unknown_generation_ends_with_one_clear_line,
    modules_offer_what_the_connector_uses,
    manager_forwards_every_method_of_vllm,
    workers_have_every_method_of_vllm,
    spec_overrides_only_what_is_there,
    every_fault_keeps_its_contract_cases,
)
