"""Host memory that is pinned for devices, as the kernel counts it.

The counters hold the pages that drivers have pinned of processes' memory, as for `cudaHostRegister`.
Memory that a driver allocates itself, such as that of `cudaHostAlloc`, is not among them.
"""

from __future__ import annotations

from pathlib import Path

from kvchaos.stacks.process_usage import PAGE_BYTES

VMSTAT = Path("/proc/vmstat")
ACQUIRED, RELEASED = "nr_foll_pin_acquired", "nr_foll_pin_released"


def pinned_bytes(vmstat: Path = VMSTAT) -> int | None:
    """Of the whole machine; None where the kernel does not report it."""
    try:
        lines = vmstat.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counters = dict(line.split(maxsplit=1) for line in lines)
    if ACQUIRED not in counters or RELEASED not in counters:
        return None
    # They are read one after the other while pages are released.
    return max(0, int(counters[ACQUIRED]) - int(counters[RELEASED])) * PAGE_BYTES
