"""The shapes of vLLM's plug-in API: those of the releases' wheels, reduced to what lies in them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

Files = Mapping[str, str]
"""Modules of the plug-in API and their source; a package's own module ends in `__init__`."""


def abstract(name: str, *methods: str) -> str:
    """Source of an abstract class; each method as name and parameters."""
    body = "".join(f"    @abstractmethod\n    def {method}: ...\n" for method in methods)
    return f"from abc import ABC, abstractmethod\nclass {name}(ABC):\n{body}"


HASH_MANAGER = abstract("OffloadingManager", "lookup(self, block_hashes)")
KEY_MANAGER = abstract("OffloadingManager", "lookup(self, key, req_context)")
HANDLER = abstract("OffloadingHandler", "transfer_async(self)", "get_finished(self)", "wait(self)")
WORKER = abstract(
    "OffloadingWorker", "submit_store(self)", "submit_load(self)", "get_finished(self)", "wait(self)"
)


def name(*names: str) -> str:
    """The text of a module that defines these names."""
    return "".join(f"\n{each} = object()\n" for each in names)


FIRST: Files = {
    "abstract": HASH_MANAGER,
    "lru_manager": "",
    "cpu": name("CPUOffloadingSpec"),
    "spec": name("OffloadingSpec"),
    "worker.worker": HANDLER,
}
WITH_CANONICAL_CACHES: Files = {
    "abstract": HASH_MANAGER,
    "reuse_manager": "",
    "cpu.spec": name("CPUOffloadingSpec"),
    "spec": name("OffloadingSpec", "CanonicalKVCaches"),
    "worker.worker": HANDLER,
}
WITH_BASE: Files = {"base": KEY_MANAGER, "cpu.spec": name("CPUOffloadingSpec"), "worker.worker": HANDLER}
ONE_WORKER: Files = {
    "base": KEY_MANAGER + WORKER + name("OffloadPolicy", "LookupResult"),
    "cpu.spec": name("CPUOffloadingSpec"),
}
WITH_CONFIG: Files = {**ONE_WORKER, "config": ""}

SHAPES: dict[str, Files] = {
    "G1": FIRST,
    "G2": {**FIRST, "reuse_manager": ""},
    "G3": WITH_CANONICAL_CACHES,
    "G4": {**WITH_CANONICAL_CACHES, "abstract": KEY_MANAGER + name("OffloadKey")},
    "G5": WITH_BASE,
    "G6": {**WITH_BASE, "base": KEY_MANAGER + name("OffloadPolicy")},
    "G7": ONE_WORKER,
    "G8": WITH_CONFIG,
    "G9": {**WITH_CONFIG, "base": WITH_CONFIG["base"] + name("ConfigInfo")},
}


def put(files: Files, folder: Path) -> None:
    """Write a vLLM that holds only these modules of the plug-in API; the folder is to be searched for it."""
    (folder / "vllm").mkdir()
    for module, source in files.items():
        path = folder.joinpath("vllm", "v1", "kv_offload", *module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    for inner in [path for path in folder.rglob("*") if path.is_dir()]:
        (inner / "__init__.py").touch()
    importlib.invalidate_caches()
