"""Kinds that alter the plan."""

from __future__ import annotations

from collections.abc import Callable

from tests.alterations.draft import Draft
from tests.alterations.kind import EXPECTATION, REFUSED, UNKNOWN, NotApplicable, Table


def _plan(*path: str, value: object) -> Callable[[Draft], None]:
    def alter(draft: Draft) -> None:
        at = draft.plan
        for key in path[:-1]:
            at = at[key]
        if at.get(path[-1]) == value:
            raise NotApplicable
        at[path[-1]] = value

    return alter


def _no_phase(draft: Draft) -> None:
    draft.plan["scenario"]["phases"].pop()


def _other_phase(draft: Draft) -> None:
    draft.plan["scenario"]["phases"][-1]["requests"] += 10


def _no_faults(draft: Draft) -> None:
    if not draft.plan["scenario"]["faults"]:
        raise NotApplicable
    draft.plan["scenario"]["faults"] = []


def _without_expectation(draft: Draft) -> None:
    if not draft.plan["expectation"]["fail"]:
        raise NotApplicable
    draft.plan["expectation"]["fail"] = []


PLAN: Table = (
    ("phase-lost", "the plan has a phase less", ("outcomes", UNKNOWN, REFUSED), _no_phase),
    ("requests", "a phase was to send ten requests more", ("outcomes", UNKNOWN), _other_phase),
    ("faults-lost", "the plan has no faults", ("faults-fired", REFUSED), _no_faults),
    (
        "no-expectation",
        "no failure is expected where one came",
        (EXPECTATION,),
        _without_expectation,
    ),
    (
        "expects",
        "a failure is expected that did not come",
        (EXPECTATION, REFUSED),
        _plan("expectation", "fail", value=["server-alive/died"]),
    ),
    (
        "offload-off",
        "the plan says that nothing is offloaded",
        ("offload-used", "accounting", REFUSED, UNKNOWN),
        _plan("scenario", "server", "offload", value=False),
    ),
    (
        "release",
        "the plan names a release that is none",
        (REFUSED, UNKNOWN),
        _plan("versions", "vllm", value="new"),
    ),
    ("odd", "the plan has an unknown key", (REFUSED,), _plan("mood", value="good")),
    (
        "token-bytes",
        "a token takes twice the bytes",
        ("accounting",),
        lambda draft: _plan("kv_token_bytes", value=(draft.plan.get("kv_token_bytes") or 512) * 2)(draft),
    ),
)
