"""Did what clients did to a server have its consequence?"""

from __future__ import annotations

from collections.abc import Callable

from oracles.endings import is_refusal, wrong_requests
from oracles.views.abandoned import given_up
from oracles.views.fired_fault import Doubt, FiredFault
from oracles.views.struck_requests import names_of


def _refused(case: FiredFault) -> Doubt | None:
    """The server refused requests that cannot be served, by its own status."""
    for line in case.fired:
        if not any(is_refusal(each.status) for each in wrong_requests(line)):
            return Doubt("none-refused", f"the server refused none of the requests at arrival {line.n}")
    return None


def _left(case: FiredFault) -> Doubt | None:
    """Of each crowd's requests the server says of one at least that it gave it up."""
    left = given_up(case.history)
    records = {record.id: record for record in case.history.requests}
    for line in case.fired:
        crowd = [records[name] for name in names_of(line) if name in records]
        if not crowd:
            return Doubt("no-record", f"no client of arrival {line.n} has left a record")
        if all(record.outcome == "ok" for record in crowd):
            return Doubt("answered-before-leaving", "the server had answered them all before they left")
        if not any(record.id in left for record in crowd):
            return Doubt("not-given-up", "the server's journal tells of none of them that it gave them up")
    return None


CLIENT_CHECKS: dict[str, Callable[[FiredFault], Doubt | None]] = {
    "malformed_request": _refused,
    "oversized_request": _refused,
    "abort_storm": _left,
}
