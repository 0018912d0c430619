"""Kinds that alter fault journals and ledgers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from history import layout
from tests.alterations.draft import Draft, Record
from tests.alterations.kind import REFUSED, UNKNOWN, NotApplicable, Table

SECOND_NS = 1_000_000_000


def _journal(prefix: str, event: str, change: Callable[[Record], object]) -> Callable[[Draft], None]:
    """The last line of an event in the files of the prefix.

    For a restarted server it is that of its last incarnation.
    """

    def alter(draft: Draft) -> None:
        lines = [line for lines in draft.of(f"{layout.CONTROL}/{prefix}") for line in lines]
        found = [line for line in lines if line["event"] == event]
        if not found:
            raise NotApplicable
        change(max(found, key=lambda line: line["t_ns"]))

    return alter


def _without(prefix: str, event: str | None, draft: Draft) -> None:
    """No line of an event, or no line at all."""
    removed = 0
    for lines in draft.of(f"{layout.CONTROL}/{prefix}"):
        before = len(lines)
        lines[:] = [line for line in lines if event is not None and line["event"] != event]
        removed += before - len(lines)
    if not removed:
        raise NotApplicable


def _more(prefix: str, event: str, times: int, **changes: object) -> Callable[[Draft], None]:
    """The last line of an event comes again, with changes."""

    def alter(draft: Draft) -> None:
        for lines in draft.of(f"{layout.CONTROL}/{prefix}"):
            found = [line for line in lines if line["event"] == event]
            if found:
                lines.extend({**found[-1], **changes} for _ in range(times))
                return
        raise NotApplicable

    return alter


def _evidence(**changes: object) -> Callable[[Record], object]:
    return lambda line: line["evidence"].update(changes)


def _balance(role: str, **changes: object) -> Callable[[Draft], None]:
    def change(line: Record) -> None:
        if all(line["evidence"].get(name) == value for name, value in changes.items()):
            raise NotApplicable
        line["evidence"].update(changes)

    return _journal(f"ledger-{role}", "balance", change)


def _audited(blocks: int) -> Callable[[Draft], None]:
    """Of a run in audit mode: else no block is compared."""

    def alter(draft: Draft) -> None:
        if not draft.plan["scenario"]["server"].get("audit"):
            raise NotApplicable
        _balance("worker", audited=blocks)(draft)

    return alter


def _too_often(draft: Draft) -> None:
    """Of a fault with a limit: another may fire as often as it likes."""
    limited = {fault["id"] for fault in draft.plan["scenario"]["faults"] if fault["trigger"].get("limit")}
    lines = (line for lines in draft.of(f"{layout.CONTROL}/faults-") for line in lines)
    fired = {line["fault"] for line in lines if line["event"] == "fired"}
    if not fired or not fired <= limited:
        raise NotApplicable
    _more("faults-", "fired", 1000)(draft)


FAULTS: Table = (
    ("not-fired", "no fault fired", (UNKNOWN,), partial(_without, "faults-", "fired")),
    ("not-armed", "no fault was armed", (UNKNOWN,), partial(_without, "faults-", "armed")),
    ("not-healed", "no fault was healed", (UNKNOWN,), partial(_without, "faults-", "healed")),
    ("not-loaded", "the module was never loaded", (UNKNOWN,), partial(_without, "faults-", "loaded")),
    ("no-journal", "the journals are empty", (UNKNOWN,), partial(_without, "faults-", None)),
    (
        "unplanned",
        "a fault that nobody planned fires",
        ("faults-fired/unplanned",),
        _more("faults-", "fired", 1, fault="stranger"),
    ),
    (
        "too-often",
        "a fault fires a thousand times",
        ("faults-fired/over-limit", UNKNOWN),
        _too_often,
    ),
    (
        "early",
        "a fault fires before it is armed",
        ("faults-fired/not-armed",),
        _journal("faults-", "fired", lambda line: line.update(t_ns=line["t_ns"] - 600 * SECOND_NS)),
    ),
    (
        "late",
        "a fault fires long after it was healed",
        ("faults-fired/not-armed",),
        _journal("faults-", "fired", lambda line: line.update(t_ns=line["t_ns"] + 600 * SECOND_NS)),
    ),
    (
        "other-kind",
        "a fault fires as another kind",
        ("faults-fired", UNKNOWN, REFUSED),
        _journal(
            "faults-",
            "fired",
            lambda line: line.update(kind="bit_flip" if line["kind"] != "bit_flip" else "lookup_miss"),
        ),
    ),
    (
        "other-request",
        "a fault strikes another request",
        ("faults-fired", "blast-radius", UNKNOWN),
        _journal("faults-", "fired", lambda line: line.update(request="cmpl-nobody-0")),
    ),
    (
        "other-site",
        "a fault fires in another place",
        ("faults-fired", UNKNOWN, REFUSED),
        _journal("faults-", "fired", lambda line: line.update(site="nowhere")),
    ),
    (
        "no-evidence",
        "a firing has no evidence",
        ("faults-fired", UNKNOWN, REFUSED),
        _journal("faults-", "fired", lambda line: line.update(evidence={})),
    ),
)

LEDGER: Table = (
    ("lost", "there is no ledger", (UNKNOWN,), partial(_without, "ledger-", None)),
    (
        "scheduler-lost",
        "the scheduler kept no ledger",
        (UNKNOWN,),
        partial(_without, "ledger-scheduler", None),
    ),
    ("worker-lost", "the worker kept no ledger", (UNKNOWN,), partial(_without, "ledger-worker", None)),
    (
        "store-open",
        "a store never ended",
        ("transfer-invariants/store-never-ended",),
        _balance("scheduler", stores_open=1, stores_since_ns=1, stores_names=["00"]),
    ),
    (
        "load-open",
        "a load never ended",
        ("transfer-invariants/load-never-ended",),
        _balance("scheduler", loads_open=1, loads_since_ns=1, loads_names=["00"]),
    ),
    (
        "copy-open",
        "a copy never ended",
        ("transfer-invariants/copy-never-ended",),
        _balance("worker", copies_open=1, copies_since_ns=1, copies_names=["1"]),
    ),
    (
        "violations",
        "violations were counted and not listed",
        ("transfer-invariants", UNKNOWN),
        _balance("worker", violations=3),
    ),
    (
        "audited-less",
        "one block was audited",
        ("transfer-invariants", UNKNOWN),
        _audited(1),
    ),
    ("audited-none", "no block was audited", ("transfer-invariants", UNKNOWN), _audited(0)),
    (
        "copies-fewer",
        "a tenth of the copies was begun",
        ("transfer-invariants", "accounting", UNKNOWN),
        _balance("worker", copies_begun=1),
    ),
    (
        "loads-more",
        "a thousand loads more were begun",
        ("transfer-invariants", "accounting", UNKNOWN),
        _balance("scheduler", loads_begun=100_000),
    ),
    (
        "stores-more",
        "a thousand stores more were begun",
        ("transfer-invariants", "accounting", UNKNOWN),
        _balance("scheduler", stores_begun=100_000),
    ),
    (
        "resident",
        "blocks stay in the tier after the reset",
        ("transfer-invariants", "drained"),
        _balance("scheduler", resident=100),
    ),
    (
        "stale",
        "the last balance is an hour old",
        (UNKNOWN,),
        _journal("ledger-worker", "balance", lambda line: line.update(t_ns=line["t_ns"] - 3600 * SECOND_NS)),
    ),
)
