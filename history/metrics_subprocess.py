"""The metrics of a long run are read in a process of their own, while this one reads the requests.

Run as a module it is that process: it reads the file named to it, and writes the log, or what is wrong with
the file, to its standard output.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen

from history.jsonl import UnreadableRun, one_line, read_lines
from history.metrics import MetricLog
from history.records import ScrapeLine

LARGE = 64 << 20
"""Bytes. A smaller file is read sooner than a process starts."""
Receive = Callable[[], MetricLog]


def read_metrics(path: Path) -> MetricLog:
    """All scrapes of a file, none where it is missing. Raises UnreadableRun."""
    try:
        return MetricLog.from_lines(read_lines(path, ScrapeLine))
    except ValueError as error:
        raise UnreadableRun(f"{path}: {one_line(error)}") from error


@contextmanager
def metrics_in_subprocess(path: Path, large: int = LARGE) -> Iterator[Receive]:
    """Begin to read a file; what is yielded waits for its end, and raises UnreadableRun."""
    if not path.is_file() or path.stat().st_size < large:
        yield partial(read_metrics, path)
        return
    # It is to find the modules that this process has, and none that lie where it was started.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with Popen([sys.executable, "-P", "-m", __name__, str(path)], stdout=PIPE, env=environment) as process:
        try:
            yield partial(_received, process, path)
        finally:
            process.kill()  # Does nothing to one that has ended.


def _received(process: Popen[bytes], path: Path) -> MetricLog:
    assert process.stdout is not None
    try:
        found = pickle.load(process.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        text = f"the process that read it ended with code {process.wait()}"
        raise UnreadableRun(f"{path}: {text}") from error
    if isinstance(found, UnreadableRun):
        raise found
    assert isinstance(found, MetricLog)
    return found


def _main() -> None:
    found: MetricLog | UnreadableRun
    try:
        found = read_metrics(Path(sys.argv[1]))
    except UnreadableRun as error:
        found = error
    pickle.dump(found, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    _main()
