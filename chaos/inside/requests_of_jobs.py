"""The request of a copy: the step's metadata names it, the copy itself only has a job number."""

from __future__ import annotations

from typing import Any

from chaos.inside.metadata import jobs, specs


class RequestsOfJobs:
    """Requests of the copies that have been planned and not yet begun."""

    def __init__(self) -> None:
        self._by_job: dict[int, str] = {}
        self._by_spec: dict[int, tuple[Any, str]] = {}
        """By identity of the spec; the reference keeps the identity from being reused."""

    def learn(self, metadata: Any) -> None:
        """Take in what a step plans. To be called before its copies begin; twice does no harm."""
        self._by_job.update(jobs(metadata))
        self._by_spec.update({id(spec): (spec, request) for spec, request in specs(metadata)})

    def take(self, job: int, spec: Any = None) -> str | None:
        """The request of a copy that begins now; None when no step has planned it."""
        _, request = self._by_spec.pop(id(spec), (None, None))
        return self._by_job.pop(job, request)
