"""What a server's `spec_module_path` names: the chaos spec of the installed vLLM's generation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.inside import process_globals
from chaos.inside.fault_kind import SCHEDULER

generation = detect()
ChaosManager: Any = import_module(f"chaos.inside.managers.{generation.manager}").ChaosManager
WrappedSpec: Any = import_module(f"chaos.inside.workers.{generation.worker}").WrappedSpec


class ChaosSpec(WrappedSpec):
    """vLLM's CPU offloading spec with its manager and its copies wrapped."""

    _manager: Any

    def get_manager(self) -> Any:
        """The one manager, vLLM's with the faults of the scheduler."""
        if not isinstance(self._manager, ChaosManager):
            runtime = process_globals.fault_runtime(SCHEDULER, self.extra_config, generation.name)
            self._manager = ChaosManager(super().get_manager(), runtime)
        return self._manager


__all__ = ["ChaosSpec", "generation"]
