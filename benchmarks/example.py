"""Make a stored example from a real run: `python -m benchmarks.example RUN_DIR examples/NAME`.

The example keeps the files that judging reads, whole. It leaves out the others: the plug-in's code, the logs
of the suite's own processes, the reports. Folders of the machine get neutral names. The command refuses an
example that is judged differently from the run, that still names the machine, or that is too large.
"""

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec.structs import replace

from history import layout
from history.seals import reseal
from history.verdict import RunVerdict
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.paths import cache_folder

KEPT = (
    *(layout.PLAN, layout.EVENTS, layout.METRICS, layout.CLIENT, layout.RESOURCES, layout.SERVER_LOG),
    *(layout.REQUESTS_GLOB, layout.FAULTS_GLOB, layout.LEDGER_GLOB, layout.PROVENANCE_GLOB),
)
MAX_BYTES = 1_000_000
"""Most bytes of all files of an example: every clone of the repository carries them."""
ROOT = Path(__file__).parents[1]
_verdicts = msgspec.json.Decoder(RunVerdict)


def make_example(run_dir: Path, example: Path, names: Mapping[str, str], host: str) -> None:
    """Write an example of a judged run in place of an older one. Raises UsageError; the older one stays then.

    `names` gives for each folder of this machine what stands for it, `host` is what the machine is called.
    """
    with TemporaryDirectory(prefix="kvchaos-example-") as folder:
        draft = Path(folder) / "draft"
        _copy(run_dir, draft, names)
        reseal(draft)
        judge_run_dir(draft)
        _check(run_dir, draft, [*names, host])
        for needless in (layout.JUNIT, layout.SUMMARY, layout.REPORT):
            (draft / needless).unlink()
        size = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
        if size > MAX_BYTES:
            raise UsageError(f"{run_dir}: its example takes {size} bytes, {MAX_BYTES} at most: run it again")
        shutil.rmtree(example, ignore_errors=True)
        shutil.copytree(draft, example)


def neutral_names(run_dir: Path, cache: Path, home: Path) -> dict[str, str]:
    """What stands for each folder of this machine. Longer paths come first: shorter ones lead to them."""
    names = {
        str(run_dir.resolve()): f"/runs/{run_dir.name}",
        str(cache): "/var/cache/kvchaos",
        str(ROOT): "/opt/kvchaos",
        sys.base_prefix: "/usr",
        str(home): "/home/user",
    }
    return dict(sorted(names.items(), key=lambda pair: len(pair[0]), reverse=True))


def _copy(run_dir: Path, draft: Path, names: Mapping[str, str]) -> None:
    for path in sorted(path for pattern in KEPT for path in run_dir.glob(pattern)):
        # Bytes, since a carriage return in a log is no end of a line.
        text = path.read_bytes().decode()
        for folder, name in names.items():
            text = _pattern(folder).sub(name, text)
        target = draft / path.relative_to(run_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())


def _check(run_dir: Path, draft: Path, names: Iterable[str]) -> None:
    if _unsealed(draft) != _unsealed(run_dir):
        raise UsageError(f"{run_dir}: its example is judged differently: judge the run again, and retry")
    for path in sorted(path for path in draft.rglob("*") if path.is_file()):
        text = path.read_text(encoding="utf-8")
        for name in names:
            if _pattern(name).search(text):
                raise UsageError(f"{run_dir}: {path.relative_to(draft)} of its example names {name}")


def _unsealed(run_dir: Path) -> RunVerdict:
    """The stored verdict without the state of its seals: the example has other names in its files."""
    verdict = _verdicts.decode((run_dir / layout.VERDICT).read_bytes())
    return replace(verdict, seal="unsealed")


def _pattern(name: str) -> re.Pattern[str]:
    """Finds a path or a host's name, but no longer name that it is a part of.

    A log may run a path into the text before it.
    """
    before = "" if name.startswith("/") else r"(?<![\w.-])"
    return re.compile(rf"{before}{re.escape(name)}(?![\w-])")


def main() -> None:
    """Entry point of the module."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.example RUN_DIR EXAMPLE_DIR")
    run_dir, example = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        names = neutral_names(run_dir, cache_folder(), Path.home())
        make_example(run_dir, example, names, socket.gethostname())
    except UsageError as error:
        sys.exit(f"benchmarks.example: {error}")


if __name__ == "__main__":
    main()
