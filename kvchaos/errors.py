"""Errors that end a command with one line."""


class UsageError(Exception):
    """Bad input or a bad environment. The message says what, where, and what to do; exit code 3."""
