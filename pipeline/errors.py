"""What headrace raises: every message is one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from headrace.text import clean

_LONGEST = 2_000


class HeadraceError(Exception):
    """Base of everything that headrace raises on purpose; ``str(error)`` is fit to be shown to a user.

    Attributes:
        exit_code: what the command line returns for it.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        # Whatever a message quotes may come from anywhere, and a key may have been pasted there.
        super().__init__(clean(message, _LONGEST))


class UsageError(HeadraceError):
    """The command line, the configuration or an argument cannot be used as it is."""

    exit_code = 2


class StoppedError(HeadraceError):
    """The run had to end early: no key can work any more, or the budget is spent."""

    exit_code = 3


class OutputError(HeadraceError):
    """Results or pictures could not be written."""

    exit_code = 74


class UnsyncedError(OutputError):
    """The disk took something and could not keep it: nothing more is written there, and no picture is paid for."""


def lone(error: BaseException) -> BaseException:
    """The error itself where a group holds nothing else, or the first that is raised on purpose: a caller catches what it knows by name."""
    while isinstance(error, BaseExceptionGroup):
        # Several tasks may fail for one reason, such as a disk.
        known = error.split(HeadraceError)[0]
        if known is None and len(error.exceptions) > 1:
            break
        error = (known or error).exceptions[0]
    return error
