"""What a server's `spec_module_path` names: the host copy spec of the installed vLLM's generation."""

from __future__ import annotations

from importlib import import_module

from chaos.hostcopy.generation import detect

HostCopySpec = import_module(f"chaos.hostcopy.{detect().worker}").HostCopySpec

__all__ = ["HostCopySpec"]
