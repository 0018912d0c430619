"""The branch of the history, with real repositories: no line is lost when several runners publish at once."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.nightly.job.git_plumbing import GitFailed, GitRepository
from kvchaos.nightly.job.history_branch import (
    BRANCH,
    REJECTED_IN_VAIN,
    HistoryBranch,
    fetch_history,
    history_files,
    joined_lines,
    publish_history,
)
from kvchaos.nightly.night_store import append_night
from kvchaos.stability.issue_links import ISSUES, read_issue_links
from tests.support.night_points import night

LINES = "lines.jsonl"
"""Another file than those of the nights, so that any line is valid."""


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    bare = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    first = tmp_path / "first"
    git(tmp_path, "clone", "--quiet", str(bare), str(first))
    (first / "README").write_text("main\n")
    git(first, "checkout", "--quiet", "-B", "main")
    git(first, "add", "README")
    git(first, "commit", "--quiet", "-m", "first")
    git(first, "push", "--quiet", "origin", "main")
    return bare


def clone(remote: Path, name: str, *options: str) -> Path:
    folder = remote.parent / name
    git(remote.parent, "clone", "--quiet", *options, remote.as_uri(), str(folder))
    return folder


def branch_of(folder: Path) -> HistoryBranch:
    return HistoryBranch(GitRepository(folder))


def published(remote: Path, name: str = LINES) -> list[str]:
    return git(remote, "show", f"kvchaos-history:{name}").splitlines()


def history(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / LINES).open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    return folder


def test_first_publication_creates_an_orphan_branch(remote: Path, tmp_path: Path) -> None:
    done = publish_history(branch_of(clone(remote, "a")), history(tmp_path / "h", "1", "2"))
    assert (done.lines, done.pushes) == (2, 1)
    assert published(remote) == ["1", "2"]
    assert git(remote, "log", "--format=%P", "kvchaos-history") == ""
    assert git(remote, "ls-tree", "--name-only", "kvchaos-history") == LINES


def test_second_publication_adds_a_commit_with_new_lines_only(remote: Path, tmp_path: Path) -> None:
    branch, folder = branch_of(clone(remote, "a")), history(tmp_path / "h", "1")
    first = publish_history(branch, folder)
    second = publish_history(branch, history(folder, "2"))
    assert (second.lines, published(remote)) == (1, ["1", "2"])
    assert git(remote, "log", "-1", "--format=%P", "kvchaos-history") == first.commit


def test_nothing_new_pushes_nothing(remote: Path, tmp_path: Path) -> None:
    branch, folder = branch_of(clone(remote, "a")), history(tmp_path / "h", "1")
    publish_history(branch, folder)
    again = publish_history(branch, folder)
    assert (again.lines, again.pushes, again.commit) == (0, 0, None)


def test_lines_of_a_runner_that_pushed_first_are_kept(remote: Path, tmp_path: Path) -> None:
    """The second runner has none of the first one's lines, as after a fetch before its night."""
    ours, theirs = history(tmp_path / "ours", "0", "b"), history(tmp_path / "theirs", "0", "a")
    publish_history(branch_of(clone(remote, "a")), theirs)
    publish_history(branch_of(clone(remote, "b")), ours)
    assert published(remote) == ["0", "a", "b"]


@pytest.fixture
def overtaken(remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Overtaken:
    return Overtaken(remote, tmp_path, monkeypatch)


class Overtaken:
    """A runner before whose pushes, after its fetch, another runner pushes so many times."""

    def __init__(self, remote: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.branch = branch_of(clone(remote, "slow"))
        self.times = 1
        self._other = branch_of(clone(remote, "fast"))
        self._folder = folder / "theirs"
        self._commit = GitRepository.commit
        monkeypatch.setattr(GitRepository, "commit", self._late_commit())

    def _late_commit(self) -> Callable[[GitRepository, Mapping[str, bytes], str | None, str, Path], str]:
        def commit(
            repository: GitRepository,
            files: Mapping[str, bytes],
            parent: str | None,
            message: str,
            index: Path,
        ) -> str:
            made = self._commit(repository, files, parent, message, index)
            if repository is self.branch.repository and self.times:
                self.times -= 1
                publish_history(self._other, history(self._folder, f"theirs {self.times}"))
            return made

        return commit


def test_rejected_push_is_repeated_on_top_of_the_other_commit(
    remote: Path, tmp_path: Path, overtaken: Overtaken
) -> None:
    waited: list[int] = []
    done = publish_history(overtaken.branch, history(tmp_path / "ours", "ours"), waited.append)
    assert (done.pushes, waited, published(remote)) == (2, [1], ["theirs 0", "ours"])


def test_pushes_that_are_always_overtaken_end_at_their_limit(
    remote: Path, tmp_path: Path, overtaken: Overtaken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvchaos.nightly.job.history_branch.PUSHES", 2)
    overtaken.times = 2
    waited: list[int] = []
    with pytest.raises(UsageError):
        publish_history(overtaken.branch, history(tmp_path / "ours", "ours"), waited.append)
    assert (waited, published(remote)) == ([1, 2], ["theirs 1", "theirs 0"])


def test_no_line_is_lost_when_two_runners_race(remote: Path, tmp_path: Path) -> None:
    rounds = 4
    start = threading.Barrier(2)
    errors: list[BaseException] = []

    def publish(name: str) -> None:
        branch, folder = branch_of(clone(remote, name)), tmp_path / f"history-{name}"
        start.wait()
        try:
            for number in range(rounds):
                publish_history(branch, history(folder, f"{name}{number}"))
        except UsageError as error:
            errors.append(error)

    threads = [threading.Thread(target=publish, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    lines = published(remote)
    assert sorted(lines) == sorted(f"{name}{number}" for name in "ab" for number in range(rounds))
    for name in "ab":
        own = [line for line in lines if line.startswith(name)]
        assert own == sorted(own)
    assert git(remote, "rev-list", "--merges", "kvchaos-history") == ""


def test_checkout_of_a_ci_job_publishes_from_its_last_commit_alone(remote: Path, tmp_path: Path) -> None:
    first = branch_of(clone(remote, "a"))
    folder = history(tmp_path / "h", "1")
    publish_history(first, folder)
    shallow = clone(remote, "b", "--depth=1")
    publish_history(branch_of(shallow), history(folder, "2"))
    assert published(remote) == ["1", "2"]
    assert len(git(remote, "rev-list", "kvchaos-history").splitlines()) == 2


def test_work_tree_branch_and_refs_stay_as_they_were(remote: Path, tmp_path: Path) -> None:
    folder = clone(remote, "a")
    (folder / "README").write_text("changed\n")
    (folder / "new").write_text("staged\n")
    git(folder, "add", "new")

    def state() -> tuple[str, ...]:
        head = git(folder, "symbolic-ref", "HEAD")
        local = git(folder, "for-each-ref", "--exclude=refs/remotes/origin/kvchaos-history")
        return (git(folder, "status", "--porcelain"), head, local)

    before = state()
    publish_history(branch_of(folder), history(tmp_path / "h", "1"))
    fetch_history(branch_of(folder), tmp_path / "other")
    assert state() == before


def test_fetch_puts_published_lines_before_own_ones(remote: Path, tmp_path: Path) -> None:
    branch = branch_of(clone(remote, "a"))
    publish_history(branch, history(tmp_path / "h", "1", "2"))
    own = history(tmp_path / "own", "2", "3")
    assert fetch_history(branch, own) == 1
    assert history_files(own) == {LINES: b"1\n2\n3\n"}


def test_fetch_takes_the_issues_that_people_edit_on_the_branch(remote: Path, tmp_path: Path) -> None:
    folder = clone(remote, "editor")
    publish_history(branch_of(folder), history(tmp_path / "first", "1"))
    git(folder, "fetch", "--quiet", "origin", BRANCH)
    git(folder, "checkout", "--quiet", "FETCH_HEAD")
    (folder / ISSUES).write_text("- {signature: x, issue: 'https://example.org/1'}\n")
    git(folder, "add", ISSUES)
    git(folder, "commit", "--quiet", "-m", "link")
    git(folder, "push", "--quiet", "origin", f"HEAD:{BRANCH}")
    other = tmp_path / "other"
    fetch_history(branch_of(clone(remote, "runner")), other)
    assert read_issue_links(other).issue("x") == "https://example.org/1"


def test_fetch_of_a_branch_that_does_not_exist_adds_nothing(remote: Path, tmp_path: Path) -> None:
    assert fetch_history(branch_of(clone(remote, "a")), tmp_path / "h") == 0


def test_other_files_of_the_branch_are_kept(remote: Path, tmp_path: Path) -> None:
    folder = clone(remote, "a")
    git(folder, "checkout", "--quiet", "--orphan", "kvchaos-history")
    git(folder, "push", "--quiet", "origin", "main:refs/heads/kvchaos-history")
    publish_history(branch_of(folder), history(tmp_path / "h", "1"))
    assert git(remote, "ls-tree", "--name-only", "kvchaos-history").splitlines() == ["README", LINES]


def test_remote_that_allows_no_push_ends_with_an_error_soon(remote: Path, tmp_path: Path) -> None:
    hook = remote / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    waited: list[int] = []
    with pytest.raises(UsageError):
        publish_history(branch_of(clone(remote, "a")), history(tmp_path / "h", "1"), waited.append)
    assert len(waited) == REJECTED_IN_VAIN


def test_missing_remote_ends_with_an_error_at_once(remote: Path, tmp_path: Path) -> None:
    folder = clone(remote, "a")
    git(folder, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError):
        publish_history(branch_of(folder), history(tmp_path / "h", "1"), lambda _: pytest.fail("waited"))


def test_folder_without_a_history_is_refused(remote: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        publish_history(branch_of(clone(remote, "a")), tmp_path)


def test_night_that_began_in_the_same_second_as_a_published_one_is_refused(
    remote: Path, tmp_path: Path
) -> None:
    branch = branch_of(clone(remote, "a"))
    for name, candidate in (("first", night(1)), ("second", night(1, "control"))):
        append_night(tmp_path / name, candidate, [], [])
    published_first = publish_history(branch, tmp_path / "first")
    with pytest.raises(UsageError):
        publish_history(branch, tmp_path / "second")
    assert git(remote, "rev-parse", "kvchaos-history") == published_first.commit


def test_credentials_of_a_remote_are_in_no_message() -> None:
    failed = GitFailed("fetch", 128, "https://x-access-token:secret@host.example/a/b: not found")
    assert "secret" not in str(failed)
    assert "host.example/a/b" in str(failed)


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        (b"", b"1\n", b"1\n"),
        (b"1\n", b"1\n2\n", b"1\n2\n"),
        (b"1\n2\n", b"2\n3\n", b"1\n2\n3\n"),
        (b"1\n", b"2\nhalf", b"1\n2\n"),
        (b"1", b"1\n2\n", b"1\n2\n"),
        (b"2\n", b"", b"2\n"),
    ],
)
def test_joined_lines_keep_both_orders_and_whole_lines(first: bytes, second: bytes, joined: bytes) -> None:
    assert joined_lines(first, second) == joined
