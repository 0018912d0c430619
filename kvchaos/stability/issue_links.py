"""Which issue a signature belongs to: a file of the history that people edit."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from history.jsonl import open_plain
from kvchaos.errors import UsageError
from oracles.causes import without_kinds

ISSUES = "issues.yaml"


class IssueRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule of the file."""

    signature: Annotated[str, Meta(min_length=1)]
    """A signature, or a pattern with `*`."""
    issue: Annotated[str, Meta(pattern=r"^https://\S+$")]
    """Address of the issue."""


@dataclass(frozen=True, slots=True)
class IssueLinks:
    """The rules, in the order of the file."""

    rules: tuple[IssueRule, ...] = ()

    def issue(self, signature: str) -> str | None:
        """Address of the issue: the first rule that matches decides.

        A rule without kinds of faults is for wrong answers after any of them.
        """
        texts = (signature, without_kinds(signature))
        matching = (
            rule.issue for rule in self.rules if any(fnmatchcase(text, rule.signature) for text in texts)
        )
        return next(matching, None)


def read_issue_links(folder: Path) -> IssueLinks:
    """The rules of a history; none where the file is missing. Raises UsageError with file and problem."""
    path = folder / ISSUES
    try:
        with open_plain(path) as file:
            return IssueLinks(tuple(msgspec.yaml.decode(file.read(), type=list[IssueRule])))
    except FileNotFoundError:
        return IssueLinks()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}; a rule has the keys signature and issue") from error
