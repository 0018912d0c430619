"""What the scheduler tells the worker of a step, in the three shapes of the releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def jobs(metadata: Any) -> Iterator[tuple[int, str]]:
    """The copies that a step plans, from 0.21 on: number of the job, and request."""
    for planned in (getattr(metadata, "load_jobs", {}), getattr(metadata, "store_jobs", {})):
        for number, job in planned.items():
            yield number, job.req_id


def specs(metadata: Any) -> Iterator[tuple[Any, str]]:
    """The copies that a step plans, to 0.20: the very spec that the worker is handed, and request."""
    for planned in (getattr(metadata, "reqs_to_load", {}), getattr(metadata, "reqs_to_store", {})):
        for request, spec in planned.items():
            yield spec, request


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
