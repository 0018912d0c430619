"""What the scheduler tells the worker of a step, in the three shapes of the releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def loads(metadata: Any) -> Iterator[tuple[str, list[int]]]:
    """The loads that a step starts and a later one reports: request and device blocks."""
    if hasattr(metadata, "reqs_to_load"):  # to 0.20
        for request, (_, device) in metadata.reqs_to_load.items():
            yield request, device.block_ids.tolist()
        return
    for job in metadata.load_jobs.values():
        # From 0.33 on a load can be done within its step; it is never reported as finished.
        if not getattr(job, "sync", False):
            device = job.dst_spec if hasattr(job, "dst_spec") else job.transfer_spec[1]
            yield job.req_id, device.block_ids.tolist()
