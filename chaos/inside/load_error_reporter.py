"""Reports whole loads as failed, which vLLM supports from 0.30 on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector


class _ReportingConnector(OffloadingConnector):
    _given_up: set[str]
    """Requests whose loads are to be reported as failed."""

    def get_transfer_results(self, finished_req_ids: set[str]) -> Any:
        results = super().get_transfer_results(finished_req_ids)
        aborted, self._given_up = self._given_up, set()
        return replace(results, failed_recving=results.failed_recving | aborted)


HAS_TRANSFER_RESULTS = hasattr(OffloadingConnector, "get_transfer_results")
LoadErrorReporter: Any = _ReportingConnector if HAS_TRANSFER_RESULTS else OffloadingConnector
"""vLLM's OffloadingConnector, with this report where the release supports it."""
