"""How a connector reports whole loads as failed: vLLM asks for it from 0.30 on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector


class _Asked(OffloadingConnector):
    _given_up: set[str]
    """Requests whose loads are to be reported so."""

    def get_transfer_results(self, finished_req_ids: set[str]) -> Any:
        results = super().get_transfer_results(finished_req_ids)
        given_up, self._given_up = self._given_up, set()
        return replace(results, failed_recving=results.failed_recving | given_up)


ASKED = hasattr(OffloadingConnector, "get_transfer_results")
TellsFailedLoads: Any = _Asked if ASKED else OffloadingConnector
"""vLLM's OffloadingConnector, with the report where it is asked for."""
