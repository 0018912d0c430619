"""The history of the nights on a branch of its own: fetched before a night, published after it.

Several runners may publish at once. Lines are only added: after a rejected push a runner fetches, adds its
lines to those of the others, and pushes again. No push is forced.
"""

from __future__ import annotations

import random
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.nightly.job.git_plumbing import GitFailed, GitRepository
from kvchaos.nightly.night_store import LOCK, read_nights
from kvchaos.servers.installation import exclusive
from kvchaos.stability.issue_links import ISSUES

BRANCH = "kvchaos-history"
PUSHES = 32
REJECTED_IN_VAIN = 5
"""Rejections one after the other while the branch does not change: no other runner is the reason."""
LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class HistoryBranch:
    """Where the history is published: a branch of the remote of a clone, with the clone's credentials."""

    repository: GitRepository
    name: str = BRANCH
    remote: str = "origin"

    @property
    def ref(self) -> str:
        """The full name at the remote."""
        return f"refs/heads/{self.name}"


@dataclass(frozen=True, slots=True)
class Publication:
    """What came of publishing."""

    lines: int
    """That the branch did not have."""
    pushes: int
    commit: str | None
    """None: there was nothing to add."""


def fetch_history(branch: HistoryBranch, folder: Path) -> int:
    """Add the lines of the branch to the files of a folder; returns how many. Raises UsageError.

    The file that people edit on the branch replaces that of the folder.
    """
    try:
        with _Tip(branch) as tip:
            _replace(tip.edited(), folder)
            return _add_to_folder(tip.files(), folder)
    except GitFailed as error:
        raise UsageError(f"branch {branch.name}: {error}") from error


def publish_history(
    branch: HistoryBranch, folder: Path, wait: Callable[[int], None] | None = None
) -> Publication:
    """Add the lines of a folder to the branch, which is created if it is missing. Raises UsageError.

    `wait` is called with the number of the push that was rejected.
    """
    ours = history_files(folder)
    if not ours:
        raise UsageError(f"{folder}: has no history to publish; measure a night first: kvchaos nightly run")
    try:
        with _Tip(branch) as tip:
            return _publish(branch, tip, ours, wait or _wait)
    except GitFailed as error:
        raise UsageError(f"branch {branch.name}: {error}") from error


def _publish(
    branch: HistoryBranch, tip: _Tip, ours: Mapping[str, bytes], wait: Callable[[int], None]
) -> Publication:
    in_vain = 0
    for push in range(1, PUSHES + 1):
        before = tip.commit
        theirs = tip.files()
        changed = {
            name: content
            for name, own in ours.items()
            if (content := joined_lines(theirs.get(name, b""), own)) != theirs.get(name, b"")
        }
        if not changed:
            return Publication(0, push - 1, None)
        _check_readable({**theirs, **changed})
        added = {
            name: content.count(b"\n") - theirs.get(name, b"").count(b"\n")
            for name, content in changed.items()
        }
        commit = tip.child(changed, added)
        if _pushed(branch, commit):
            return Publication(sum(added.values()), push, commit)
        wait(push)
        tip.fetch()
        in_vain = in_vain + 1 if tip.commit == before else 0
        if in_vain == REJECTED_IN_VAIN:
            raise UsageError(f"branch {branch.name}: the remote rejects pushes; allow the job to write")
    raise UsageError(f"branch {branch.name}: {PUSHES} pushes were rejected; others push all the time")


def _check_readable(files: Mapping[str, bytes]) -> None:
    """Two nights that began in the same second would make the history unreadable. Raises UsageError."""
    with tempfile.TemporaryDirectory(prefix="kvchaos-history-") as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        try:
            read_nights(Path(scratch))
        except UsageError as error:
            problem = str(error).removeprefix(f"{scratch}/")
            raise UsageError(f"not published: with these lines the history is invalid: {problem}") from error


def _pushed(branch: HistoryBranch, commit: str) -> bool:
    """Whether the remote took the commit; False where it rejected it. Raises GitFailed."""
    try:
        branch.repository.run("push", "--porcelain", branch.remote, f"{commit}:{branch.ref}")
    except GitFailed as error:
        if any(line.startswith("!\t") for line in error.output.splitlines()):
            return False
        raise
    return True


def _wait(push: int) -> None:
    time.sleep(random.uniform(0.0, min(0.1 * 2**push, LONGEST_WAIT_S)))


class _Tip:
    """The last commit of the branch, fetched under a name of its own that is removed at the end."""

    def __init__(self, branch: HistoryBranch) -> None:
        self._branch = branch
        self._repository = branch.repository
        self._name = f"refs/kvchaos/{uuid.uuid4().hex}"
        self.commit: str | None = None
        """None: there is no such branch yet."""

    def __enter__(self) -> _Tip:
        self.fetch()
        return self

    def __exit__(self, *_: object) -> None:
        self._repository.run("update-ref", "-d", self._name)

    def fetch(self) -> None:
        """Fetch the branch again. Raises GitFailed."""
        branch = self._branch
        if not self._repository.run("ls-remote", branch.remote, branch.ref):
            self.commit = None
            return
        depth = ["--depth=1"] if self._repository.is_shallow() else []
        refspec = f"+{branch.ref}:{self._name}"
        self._repository.run("fetch", "--quiet", "--no-tags", *depth, branch.remote, refspec)
        self.commit = self._repository.line("rev-parse", self._name)

    def files(self) -> dict[str, bytes]:
        """The files of the history on the branch."""
        if self.commit is None:
            return {}
        names = [name for name in self._repository.files(self.commit) if name.endswith(".jsonl")]
        return {name: self._repository.content(self.commit, name) for name in names}

    def edited(self) -> dict[str, bytes]:
        """The file that people edit, where the branch has it."""
        if self.commit is None or ISSUES not in self._repository.files(self.commit):
            return {}
        return {ISSUES: self._repository.content(self.commit, ISSUES)}

    def child(self, files: Mapping[str, bytes], added: Mapping[str, int]) -> str:
        """A commit on top of this one."""
        counts = ", ".join(f"{name} {count}" for name, count in added.items())
        with tempfile.TemporaryDirectory(prefix="kvchaos-index-") as scratch:
            return self._repository.commit(
                files, self.commit, f"Add lines: {counts}\n", Path(scratch) / "index"
            )


def history_files(folder: Path) -> dict[str, bytes]:
    """The files of JSON lines in a folder, by name. Raises UsageError."""
    try:
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {error.strerror}") from error


def joined_lines(first: bytes, second: bytes) -> bytes:
    """All of the first file, then the whole lines of the second that it lacks, in their order."""
    ended = first if not first or first.endswith(b"\n") else first + b"\n"
    known = set(ended.splitlines(keepends=True))
    whole = second[: second.rfind(b"\n") + 1]
    return ended + b"".join(line for line in whole.splitlines(keepends=True) if line not in known)


def _replace(files: Mapping[str, bytes], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            _write(folder / name, content)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    draft.replace(path)


def _add_to_folder(files: Mapping[str, bytes], folder: Path) -> int:
    """Put the lines of the branch before those that only the folder has."""
    added = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / LOCK, lambda: None):
            own = history_files(folder)
            for name, content in files.items():
                joined = joined_lines(content, own.get(name, b""))
                added += joined.count(b"\n") - own.get(name, b"").count(b"\n")
                _write(folder / name, joined)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    return added
