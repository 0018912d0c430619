"""The metadata that scheduler and worker exchange for a step, in the three shapes of the releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Transfer = tuple[str, int | str]
"""A copy as the scheduler knows it: load or store, and the job; to 0.20 the request, for all its copies."""


def planned(metadata: Any) -> Iterator[tuple[Transfer, str]]:
    """The copies that a step plans, with their requests."""
    if hasattr(metadata, "reqs_to_load"):  # to 0.20
        for request in metadata.reqs_to_load:
            yield ("load", request), request
        for request in metadata.reqs_to_store:
            yield ("store", request), request
        return
    for job, entry in metadata.load_jobs.items():
        yield ("load", job), entry.req_id
    for job, entry in metadata.store_jobs.items():
        yield ("store", job), entry.req_id


def ended(connector_output: Any) -> Iterator[Transfer]:
    """The copies that the worker reports as ended. To 0.20 it reports stores when their request has ended."""
    for request in connector_output.finished_recving or ():
        yield "load", request
    for request in connector_output.finished_sending or ():
        yield "store", request
    meta = getattr(connector_output, "kv_connector_worker_meta", None)
    for job in getattr(meta, "completed_jobs", ()):
        yield "load", job
        yield "store", job


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
