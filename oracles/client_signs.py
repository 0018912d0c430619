"""Did what clients did to a server have its consequence?"""

from __future__ import annotations

from collections.abc import Callable

from oracles.case import Case
from oracles.refusals import asked, is_refusal


def _refused(case: Case) -> str | None:
    """The server refused requests that cannot be served, by its own status."""
    for line in case.fired:
        if not any(is_refusal(each.status) for each in asked(line)):
            return f"the server refused none of the requests at arrival {line.n}"
    return None


CLIENT_SIGNS: dict[str, Callable[[Case], str | None]] = {
    "malformed_request": _refused,
    "oversized_request": _refused,
}
