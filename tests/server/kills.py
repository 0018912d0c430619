"""Kill the conductor at random moments, clean up, and look for what is left: run by name.

    python -m tests.server.kills --kills 100 --seed 7

The scenarios of the local stack are taken in turn. Where the machine allows it, everything happens before a
/dev/shm of its own, so that whatever is in it belongs to these runs. Exit code 1 when anything was left.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from history import layout
from tests.server.bench import NEW, Bench, Command, local_scenarios, own_cache
from tests.server.left_behind import Left, Site

MARK = "LEFT_BY_A_KILL"
OWN_MOUNTS = "KILLS_OWN_MOUNTS"
MOUNT = 'mount -t tmpfs -o mode=1777 kills /dev/shm && exec "$@"'
UNSHARE = (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount"))
EARLIEST_S, LATEST_S = 4.0, 25.0
PATIENCE_S = 180.0
"""For what a kill waits for; then it comes without that."""
POLL_S = 0.05
MOMENTS = ("early", "early", "aimed", "serving")
"""When a kill comes; each is as likely as it is often here. Most come while the server starts."""


@dataclass(frozen=True)
class Kill:
    """One kill, as planned."""

    scenario: str
    moment: str
    """early: a time after the start; aimed: after the first shared memory; serving: when it is up."""
    after_s: float


@dataclass(frozen=True)
class Outcome:
    """What a kill of the conductor left before and after the clean-up."""

    kill: Kill
    at_s: float
    """After the start of the conductor."""
    stage: str
    """The last event of the run by then."""
    before: Left
    after: Left
    clean_s: float
    complaints: tuple[str, ...]
    """What the commands said that they should not."""
    too_late: bool = False
    """Whether the run had ended by itself: then nothing was killed."""

    @property
    def tidy(self) -> bool:
        return self.after == Left() and not self.complaints

    def line(self) -> str:
        after = "nothing left" if self.tidy else "; ".join((f"LEFT {self.after.names()}", *self.complaints))
        return (
            f"{self.kill.scenario}: killed after {self.at_s:.1f} s ({self.kill.moment}, {self.stage}): "
            f"{self.before.summary()}; clean took {self.clean_s:.1f} s: {after}"
        )


def planned(count: int, seed: int, scenarios: list[str], moments: Sequence[str] = MOMENTS) -> list[Kill]:
    """The kills of a seed."""
    chance = random.Random(seed)
    kills = []
    for number in range(count):
        moment = chance.choice(moments)
        after_s = {"aimed": 2.0, "serving": 5.0}.get(moment, 0.0) * chance.random()
        if moment == "early":
            after_s = chance.uniform(EARLIEST_S, LATEST_S)
        kills.append(Kill(scenarios[number % len(scenarios)], moment, after_s))
    return kills


def kill_and_clean(kill: Kill, server: str, folder: Path, cache: Path) -> Outcome:
    """Run the scenario, kill the conductor, clean, and look. `folder` is empty, its path short."""
    mark = secrets.token_hex(8)
    temp = folder / "tmp"
    temp.mkdir()
    bench = Bench(folder, cache)
    site = Site(f"{MARK}={mark}", temp, cache / "state")
    with environment({MARK: mark, "TMPDIR": str(temp)}), ExitStack() as broken_off:
        begin = time.monotonic()
        command = bench.start("run", kill.scenario, "--server", server, "--seed", "1")
        broken_off.callback(bench.run, "clean")
        broken_off.callback(command.process.communicate)
        broken_off.callback(command.process.kill)
        wait_for_the_moment(kill, bench, site, command)
        ended_itself = command.process.poll() is not None
        site.left()
        command.process.kill()
        at_s = time.monotonic() - begin
        broken_off.pop_all()
        _, err = command.process.communicate()
        before, stage = site.left(), last_event(bench)
        complaints = [f"the run had ended before with {err[-300:]}"] if ended_itself and err else []
        begin = time.monotonic()
        cleaned = bench.run("clean")
        clean_s = time.monotonic() - begin
        if cleaned.code != 0:
            complaints.append(f"clean ended with {cleaned.code}: {cleaned.err}")
        after = site.left()
        again = bench.run("clean")
        if (again.code, again.out) != (0, "nothing to clean\n"):
            complaints.append(f"the second clean says: {again.out}{again.err}")
    return Outcome(kill, at_s, stage, before, after, clean_s, tuple(complaints), too_late=ended_itself)


def kill_in_time(kill: Kill, server: str, folder: Path, cache: Path) -> Outcome:
    """The same, and where the run had ended by itself once more, each time half as late."""
    attempt = 0
    while True:
        attempt_folder = folder / str(attempt)
        attempt_folder.mkdir()
        outcome = kill_and_clean(kill, server, attempt_folder, cache)
        if not outcome.too_late or outcome.complaints:
            return outcome
        kill, attempt = replace(kill, after_s=kill.after_s / 2), attempt + 1


def wait_for_the_moment(kill: Kill, bench: Bench, site: Site, command: Command) -> None:
    """Until the run has got as far as the kill wants, and so many seconds more; at least until its record."""
    deadline = time.monotonic() + PATIENCE_S
    while command.process.poll() is None and time.monotonic() < deadline:
        if kill.moment == "early" or (kill.moment == "serving" and last_event(bench, "server_ready")):
            break
        if kill.moment == "aimed" and site.has_new_shm("psm_*"):
            break
        time.sleep(POLL_S)
    end = time.monotonic() + kill.after_s
    while command.process.poll() is None and (time.monotonic() < end or not bench.records()):
        time.sleep(POLL_S)


def last_event(bench: Bench, kind: str = "") -> str:
    """The last event of the bench's only run, of that kind if it is named; empty when there is none."""
    found = "" if kind else "no event"
    for path in bench.runs.glob(f"*/{layout.EVENTS}"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name = line.partition('"kind":"')[2].partition('"')[0]
            found = name if name and kind in ("", name) else found
    return found


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """For the commands that are started meanwhile."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def table(outcomes: list[Outcome]) -> str:
    """Kills by what they had left before the cleaning."""
    lines = ["", "kills  left after clean  left before clean"]
    kinds = Counter(outcome.before.kinds() for outcome in outcomes)
    for found, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0])):
        untidy = sum(not outcome.tidy for outcome in outcomes if outcome.before.kinds() == found)
        lines.append(f"{count:5}  {untidy:16}  {', '.join(found) or 'nothing'}")
    untidy = sum(not outcome.tidy for outcome in outcomes)
    return "\n".join((*lines, f"{len(outcomes):5}  {untidy:16}  in all"))


def report(text: str) -> None:
    """Write a line to the terminal at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def before_own_mounts() -> None:
    """Become the same command before a /dev/shm of its own, where that is allowed."""
    for unshare in UNSHARE:
        own = [*unshare, "sh", "-c", MOUNT, "sh"]
        try:
            allowed = subprocess.run([*own, "true"], capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            break
        if allowed:
            os.environ[OWN_MOUNTS] = "1"
            os.execvp(own[0], [*own, sys.executable, "-m", "tests.server.kills", *sys.argv[1:]])
    report("no /dev/shm of its own can be had: files that no process of others uses count as left")


def main() -> int:
    """Kill the conductor at many moments, and count what remains."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--server", default=NEW)
    options.add_argument("--moment", action="append", choices=sorted(set(MOMENTS)), help="else all of them")
    options.add_argument("scenarios", nargs="*", help="else all of the local stack")
    given = options.parse_args()
    if OWN_MOUNTS not in os.environ:
        before_own_mounts()
    base = Path(tempfile.mkdtemp(prefix="kills-", dir="/tmp"))
    cache = own_cache(base)
    outcomes = []
    kills = planned(given.kills, given.seed, given.scenarios or local_scenarios(), given.moment or MOMENTS)
    for number, kill in enumerate(kills):
        folder = base / str(number)
        folder.mkdir()
        outcomes.append(kill_in_time(kill, given.server, folder, cache))
        report(f"{number + 1}/{given.kills} {outcomes[-1].line()}")
        if outcomes[-1].tidy:
            shutil.rmtree(folder)
    report(table(outcomes))
    if not all(outcome.tidy for outcome in outcomes):
        report(f"the runs that left something are in {base}")
        return 1
    shutil.rmtree(base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
