"""Points at which a test may kill the process: off unless the environment names one.

``HEADRACE_CHAOS=finished:3`` is SIGKILL when the point ``finished`` is passed for the third time. The points stand at every step of the
order of durability (``docs/architecture.md``), so that what a crash leaves there is tried on purpose and not by luck.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "HEADRACE_CHAOS"
POINTS = ("intent_durable", "answered", "picture_written", "picture_placed", "finished", "line_written", "line_recorded")

_name, _, _times = os.environ.get(VARIABLE, "").partition(":")
_left = int(_times) if _times.isdecimal() else 1


def point(name: str) -> None:
    """Die here, if this is the point and the time."""
    global _left  # noqa: PLW0603 - one process, one death
    if name == _name:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
