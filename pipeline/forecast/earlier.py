"""What earlier runs in the output folder have finished: the same command again does not pay for that twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headrace.journal.database import FILE
from headrace.journal.identity import identity_of
from headrace.journal.reader import opened
from headrace.journal.stored import missing, restored

if TYPE_CHECKING:
    import sqlite3
    from contextlib import ExitStack

    from headrace.records import Prompt
    from headrace.settings import Settings

_FIRST = 1
"""All that is read here the first journals had."""
_FIND = "select number, result from item where identity = ? and final order by line desc, number"
_SPENT = "select total(cost_usd) from attempt where number > (select since from job) and simulated = ? and outcome is not 'unpaid'"


class Earlier:
    """A journal as a run would find it.

    Args:
        db: the journal.
        root: its folder, where the pictures are.
        url: the API that would be asked.
        simulated: whether that is the simulator, whose money is kept apart.
    """

    def __init__(self, db: sqlite3.Connection, root: Path, url: str, *, simulated: bool) -> None:
        self._db = db
        self._root = root
        self._url = url
        self._claimed: set[int] = set()
        self.spent_usd = float(db.execute(_SPENT, (simulated,)).fetchone()[0])
        """What counts against the budget already."""

    def finished(self, prompt: Prompt) -> bool:
        """Whether its result is there; the second of two equal prompts needs a second one."""
        for number, text in self._db.execute(_FIND, (identity_of(prompt, self._url),)):
            if number not in self._claimed:
                self._claimed.add(number)
                result = restored(text, prompt)
                return result is not None and missing(result.images, self._root) is None
        return False


def earlier_of(settings: Settings, url: str, stack: ExitStack) -> Earlier | None:
    """The journal of these settings' folder; None where there is none. The ``stack`` closes it.

    Raises:
        UsageError: it cannot be read.
    """
    root = Path(settings.run.out_dir)
    file = root / FILE
    if not (settings.run.journal and file.is_file() and file.stat().st_size):
        return None
    return Earlier(stack.enter_context(opened(root, _FIRST)), root, url, simulated=settings.run.simulate)
