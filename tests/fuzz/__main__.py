"""`python -m tests.fuzz --kind histories --mutants 10000 --seed 1`: see docs/fuzzing.md."""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.campaign import run
from tests.fuzz.kinds import KINDS

MEMORY_BYTES = 4 << 30
"""A mutant that takes more gets a MemoryError, and the machine is left alone."""
KEEP = Path("build") / "fuzz"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 when a mutant failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--mutants", type=int, default=1000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of the one mutant to make again")
    parser.add_argument("--keep", type=Path, default=KEEP, help="folder for mutants that fail")
    given = parser.parse_args(argv)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    numbers = range(given.mutants) if given.only is None else [given.only]
    failed = False
    for name in KINDS if given.kind == "all" else [given.kind]:
        report = run(KINDS[name], given.seed, numbers, given.keep)
        for failure in report.failures:
            sys.stdout.write(f"{failure}\n")
        sys.stdout.write(f"{report.line()}\n")
        sys.stdout.flush()
        failed = failed or bool(report.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
