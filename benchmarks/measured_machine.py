"""The line that begins each table of a benchmark: when and on which machine it was measured."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from kvchaos.planning.run_plan import host


def machine_line() -> str:
    """Date, Python, machine and its load, as Markdown."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {sys.version.split()[0]}; {host()}; "
        f"load of the machine {os.getloadavg()[1]:.1f} (5 minutes)."
    )
