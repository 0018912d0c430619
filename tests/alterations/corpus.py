"""All kinds of alteration, by name."""

from __future__ import annotations

from dataclasses import replace

from tests.alterations import metrics, records, server
from tests.alterations.blind import BLIND
from tests.alterations.kind import Kind

KINDS: dict[str, Kind] = {
    kind.name: replace(kind, blind=BLIND.get(kind.name))
    for kind in (*metrics.KINDS, *records.KINDS, *server.KINDS)
}
