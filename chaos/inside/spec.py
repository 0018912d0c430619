"""What a server's `spec_module_path` names: the chaos spec of the installed vLLM's generation."""

from __future__ import annotations

from importlib import import_module

from chaos.hostcopy.generation import detect

adapter = import_module(f"chaos.inside.adapters.{detect().lower()}")
ChaosSpec = adapter.ChaosSpec

__all__ = ["ChaosSpec", "adapter"]
