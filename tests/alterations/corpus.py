"""All kinds of alteration, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tests.alterations import client, events, journals, log, metrics, plan, requests, scrapes
from tests.alterations.blind import BLIND
from tests.alterations.kind import Kind, Table
from tests.alterations.proving import limited
from tests.alterations.unnoticeable import UNNOTICEABLE

TABLES: Mapping[str, Table] = {
    "requests/": requests.REQUESTS,
    "": client.CLIENT,
    "events/": events.EVENTS,
    "faults/": journals.FAULTS,
    "ledger/": journals.LEDGER,
    "log/": log.LOG,
    "plan/": plan.PLAN,
    "scrapes/": scrapes.SCRAPES,
}
"""By what the names of their kinds begin with."""


def _of_tables() -> Iterator[Kind]:
    for prefix, table in TABLES.items():
        for part, what, expects, alter in table:
            name = f"{prefix}{part}"
            change = limited(name, expects, alter)
            yield Kind(name, what, expects, change, unnoticeable=UNNOTICEABLE.get(name))


KINDS: dict[str, Kind] = {
    kind.name: replace(kind, blind=BLIND.get(kind.name)) for kind in (*metrics.KINDS, *_of_tables())
}
