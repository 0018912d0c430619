"""The suite's own scrapes of /metrics: several a second, written as differences, never an exception.

`history.metrics.MetricLog` reads them back.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from history.jsonl import LineWriter, one_line
from history.metrics import series_key
from history.records import ScrapeLine
from loadtests.target import EndpointFailed, ServerEndpoints

PERIOD_S = 0.2
TIMEOUT_S = 2.0
START_TIME = "process_start_time_seconds"
CREATED = "_created"
"""Creation times of counters: half as many series again, and no oracle uses them."""

Samples = dict[str, float]


class BadScrape(Exception):
    """A scrape without samples; the message gives the reason."""


def parse_samples(text: str) -> Samples:
    """Value by series name. Raises BadScrape for text that is not the exposition format."""
    samples: Samples = {}
    try:
        for family in text_string_to_metric_families(_without_created(text)):
            for sample in family.samples:
                key = series_key(sample.name, sample.labels)
                if key in samples:
                    raise BadScrape(f"malformed: {key} is given twice")
                samples[key] = float(sample.value)
    # The library slips over labels that do not end, and takes whole numbers of any size.
    except (ValueError, IndexError, OverflowError) as error:
        raise BadScrape(f"malformed: {one_line(error)}") from error
    if not samples:
        raise BadScrape("malformed: no samples")
    return samples


@dataclass(frozen=True, slots=True)
class SampleDifference:
    """Changes of the samples from one scrape to the next. Series are numbered as they appear."""

    new: list[str]
    changed: dict[int, float | str]
    gone: list[int]


class DifferenceEncoder:
    """Turns each set of samples into the difference to the one before."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._present: dict[str, float | str] = {}

    def encode(self, samples: Samples) -> SampleDifference:
        """The difference of these samples to those of the last call."""
        present = {key: _encoded(value) for key, value in samples.items()}
        new = [key for key in present if key not in self._index]
        for key in new:
            self._index[key] = len(self._index)
        changed = {
            self._index[key]: value for key, value in present.items() if self._present.get(key) != value
        }
        gone = [self._index[key] for key in self._present if key not in present]
        self._present = present
        return SampleDifference(new, changed, gone)


class Scraper:
    """Scrapes a server from `start` to `stop` every `period_s`, and at once with `scrape_now`.

    Ends by itself when a line cannot be written; `failure` then raises the reason.
    """

    def __init__(
        self, base_url: str, writer: LineWriter, period_s: float = PERIOD_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        # Over one connection: several scrapes a second would open as many.
        self._server = ServerEndpoints(base_url, timeout_s)
        self._writer = writer
        self._period_s = period_s
        self._encoder = DifferenceEncoder()
        # One worker takes all scrapes in turn. An interrupt of the caller cannot cut a scrape in two there,
        # between what is remembered for the next difference and what is written.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scrape")
        self._stopping = threading.Event()
        self._beat = threading.Thread(target=self._run, name="scrape-beat", daemon=True)
        self._last_ns = 0
        self._latest: Samples | None = None
        self._failure: OSError | None = None

    def start(self) -> None:
        """Start the thread."""
        self._beat.start()

    def stop(self) -> None:
        """End the threads and wait for them. Safe to repeat; no scrape is possible afterwards."""
        self._stopping.set()
        if self._beat.is_alive():
            self._beat.join()
        self._worker.shutdown()
        self._server.close()

    def latest(self) -> Samples | None:
        """The samples of the last scrape; None when it failed or there was none."""
        return self._latest

    def failure(self) -> None:
        """Raise the OSError with which writing a line failed, if any did."""
        if self._failure is not None:
            raise self._failure

    def scrape_now(self) -> Samples | None:
        """Scrape and write now. None when the scrape failed; raises OSError when writing failed."""
        return self._worker.submit(self._scrape).result()

    def _run(self) -> None:
        first = time.monotonic()
        while not self._stopping.is_set():
            try:
                self.scrape_now()
            except OSError:
                # Kept for `failure`, which raises it in the conductor.
                return
            # On a fixed grid: a slow scrape skips a beat and does not shift the others.
            now = time.monotonic()
            beats = math.floor((now - first) / self._period_s) + 1
            self._stopping.wait(first + beats * self._period_s - now)

    def _scrape(self) -> Samples | None:
        self.failure()
        # A clock that is set back must not put scrapes out of order.
        started_ns = self._last_ns = max(time.time_ns(), self._last_ns)
        started_mono_ns = time.monotonic_ns()
        samples, error = self._fetch()
        difference = SampleDifference([], {}, []) if samples is None else self._encoder.encode(samples)
        self._latest = samples
        self._write(
            ScrapeLine(
                t_ns=started_ns,
                mono_ns=started_mono_ns,
                took_us=(time.monotonic_ns() - started_mono_ns) // 1000,
                incarnation=None if samples is None else samples.get(START_TIME),
                new=difference.new,
                changed=difference.changed,
                gone=difference.gone,
                error=error,
            )
        )
        return samples

    def _fetch(self) -> tuple[Samples | None, str | None]:
        try:
            return parse_samples(self._server.metrics().decode("utf-8")), None
        except EndpointFailed as error:
            return None, error.problem
        except UnicodeDecodeError as error:
            return None, f"malformed: {error}"
        except BadScrape as error:
            return None, str(error)

    def _write(self, line: ScrapeLine) -> None:
        try:
            self._writer.write(line)
        except OSError as error:
            self._failure = error
            raise


def _without_created(text: str) -> str:
    return "\n".join(
        line
        for line in text.split("\n")
        if not line.partition("{")[0].partition(" ")[0].endswith(CREATED) and not line.startswith("# HELP")
    )


def _encoded(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return value
