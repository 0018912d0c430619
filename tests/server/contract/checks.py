"""Run by a server's own interpreter: does the chaos module fit the vLLM that is installed there?

Prints one JSON line a check: {"check": name, "ok": bool, "detail": str, "left_out": str | null}. What is
left out cannot be expressed in the shapes of this release; the text says why.
"""

from __future__ import annotations

import json
import sys
import unittest
from collections.abc import Callable
from functools import partial, update_wrapper

from tests.server.contract import (
    audit,
    connector,
    contents,
    copies,
    damage,
    failures,
    fit,
    idle_wrappers,
    manager,
    pinned,
    request_names,
    request_states,
    residency,
    results,
    stored,
    within_step,
)
from tests.server.contract.bench import Bench

Check = Callable[[Bench], None]

CHECKS: tuple[Check, ...] = (
    *fit.CHECKS,
    *manager.CHECKS,
    *residency.CHECKS,
    *copies.CHECKS,
    *damage.CHECKS,
    *contents.CHECKS,
    *stored.CHECKS,
    *results.CHECKS,
    *connector.CHECKS,
    *pinned.CHECKS,
    *audit.CHECKS,
    *request_names.CHECKS,
    *request_states.CHECKS,
    *failures.CHECKS,
    *within_step.CHECKS,
    *idle_wrappers.CHECKS,
)


def main() -> None:
    """Run all checks and print their results as JSON Lines."""
    bench = Bench()
    for check in CHECKS:
        result = unittest.TestResult()
        unittest.FunctionTestCase(update_wrapper(partial(check, bench), check)).run(result)
        troubles = [text for _, text in (*result.failures, *result.errors)]
        line = {
            "check": check.__name__,
            "ok": not troubles,
            "detail": "\n".join(troubles),
            "left_out": result.skipped[0][1] if result.skipped else None,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
