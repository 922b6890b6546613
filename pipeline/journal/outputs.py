"""The output file: every line once, however often the run was killed. What is in it for sure is an offset in the journal."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import attrs

from headrace.chaos import point
from headrace.journal.database import readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.journal.journal import Journal
    from headrace.records import Result

_FIND = "select number, source, device, inode, offset, complete from output where path = ?"
_TO_BE_TRIED_AGAIN = "select 1 from item where output = ? and final = 0 limit 1"


@attrs.frozen
class OutputFile:
    """A file that lines go into, opened for reading and writing."""

    journal: Journal
    number: int
    handle: int
    name: str
    offset: int
    """Where to go on writing: what is behind it may be half a line, and has to go."""

    def emitted(self, results: Sequence[Result], offset: int) -> None:
        """The lines of some results are in the file, which is now so long."""
        writer = self.journal.writer
        writer.sync(self.handle, self.name)
        for result in results:
            writer.put("update item set output = ? where number = ?", self.number, result.item)
        writer.put("update output set offset = ? where number = ?", offset, self.number, then=lambda: point("line_recorded"))

    def complete(self) -> None:
        """The input has ended and every line is there: the next run writes the file anew."""
        self.journal.writer.put("update output set complete = 1 where number = ?", self.number)


def output_file(journal: Journal, path: Path, handle: int, source: str) -> OutputFile | None:
    """The file behind ``handle`` as the journal knows it; None for what is no file.

    It is gone on with where an unfinished run on the same source wrote it and nobody has changed it since. It is written anew where
    prompts whose lines it has are to be tried again: each has one line.
    """
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        return None
    name = str(path.absolute())
    with readable(journal.root):
        found = journal.db.execute(_FIND, (name,)).fetchone()
        if found is not None:
            number, offset = found[0], found[4]
            same = found[1:4] == (source, about.st_dev, about.st_ino) and not found[5] and type(offset) is int and about.st_size >= offset
            if same and _ends_a_line(path, offset) and not journal.db.execute(_TO_BE_TRIED_AGAIN, (number,)).fetchone():
                return OutputFile(journal, number, handle, name, offset)
    number = journal.next_output()
    journal.writer.put("delete from output where path = ?", name)
    statement = "insert into output (number, path, source, device, inode) values (?, ?, ?, ?, ?)"
    journal.writer.put(statement, number, name, source, about.st_dev, about.st_ino)
    return OutputFile(journal, number, handle, name, 0)


def _ends_a_line(path: Path, offset: int) -> bool:
    if not offset:
        return True
    try:
        with path.open("rb") as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False
