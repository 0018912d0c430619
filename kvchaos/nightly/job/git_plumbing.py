"""Git commands on a repository whose work tree, index and branches stay as they are."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

IDENTITY = ("-c", "user.name=kvchaos", "-c", "user.email=kvchaos@localhost", "-c", "commit.gpgSign=false")
CREDENTIALS = re.compile(r"//[^/@\s]+@")
QUIET = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
"""English messages, and an error instead of a question for a password."""


class GitFailed(Exception):
    """A git command that ended with an error; the message has no credentials."""

    def __init__(self, command: str, code: int, message: str) -> None:
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        last = lines[-1] if lines else "no output"
        super().__init__(CREDENTIALS.sub("//***@", f"git {command} ended with code {code}: {last}"))
        self.code = code
        self.output = message


@dataclass(frozen=True, slots=True)
class GitRepository:
    """A repository on this machine."""

    folder: Path

    def run(
        self,
        command: str,
        *arguments: str,
        given: bytes | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> bytes:
        """Output of one git command. Raises GitFailed."""
        try:
            done = subprocess.run(
                ["git", *IDENTITY, command, *arguments],
                cwd=self.folder,
                env={**os.environ, **QUIET, **(extra or {})},
                input=given,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise GitFailed(command, 127, str(error)) from error
        if done.returncode != 0:
            message = (done.stdout + done.stderr).decode(errors="replace")
            raise GitFailed(command, done.returncode, message)
        return done.stdout

    def line(self, command: str, *arguments: str, given: bytes = b"") -> str:
        """Output of one git command that prints one line. Raises GitFailed."""
        return self.run(command, *arguments, given=given).decode().strip()

    def is_shallow(self) -> bool:
        """Whether only the last commits are there, as in the checkout of a CI job."""
        return self.line("rev-parse", "--is-shallow-repository") == "true"

    def files(self, commit: str) -> list[str]:
        """Names in the top folder of a commit."""
        listed = self.run("ls-tree", "-z", "--name-only", commit)
        return [name.decode() for name in listed.split(b"\0") if name]

    def content(self, commit: str, name: str) -> bytes:
        """A file of a commit."""
        return self.run("cat-file", "blob", f"{commit}:{name}")

    def commit(self, files: Mapping[str, bytes], parent: str | None, message: str, index: Path) -> str:
        """A new commit with these files changed or added; no branch is moved. `index` is a scratch file."""
        extra = {"GIT_INDEX_FILE": str(index)}
        self.run("read-tree", *([parent] if parent else ["--empty"]), extra=extra)
        for name, content in files.items():
            blob = self.line("hash-object", "-w", "--stdin", given=content)
            self.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", extra=extra)
        tree = self.run("write-tree", extra=extra).decode().strip()
        parents = ["-p", parent] if parent else []
        return self.line("commit-tree", tree, *parents, given=message.encode())
