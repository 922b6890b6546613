"""The output file: every line once, however often the run was killed. What is in it for sure is an offset in the journal."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import attrs

from headrace.chaos import point
from headrace.journal.database import readable
from headrace.journal.stored import missing, pictures_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.journal.journal import Journal
    from headrace.records import Result

_FIND = "select number, source, device, inode, offset, lines, complete from output where path = ?"
_LINES = "select count(*), total(final = 0) from item where output = ?"
_RESULTS = "select result from item where output = ? and pictures > 0"


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
        statement = "update output set offset = ?, lines = lines + ? where number = ?"
        writer.put(statement, offset, len(results), self.number, then=lambda: point("line_recorded"))

    def complete(self) -> None:
        """The input has ended and every line is there: the next run writes the file anew."""
        self.journal.writer.put("update output set complete = 1 where number = ?", self.number)


def output_file(journal: Journal, path: Path, handle: int, source: str | None) -> OutputFile | None:
    """The file behind ``handle`` as the journal knows it; None for what is no file.

    It is gone on with where an unfinished run wrote it, from the same ``source`` (None where nobody knows whether it is), nobody has
    changed it since, and every line in it stands: no prompt of it is to be tried again, and every picture is there. Else it is written anew
    from the journal: each prompt has one line.
    """
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        return None
    name = os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")
    known = (source, about.st_dev, about.st_ino)
    with readable(journal.root):
        found = journal.db.execute(_FIND, (name,)).fetchone()
        if found is not None and found[1:4] == known and type(found[4]) is int and about.st_size >= found[4]:
            number, offset, lines, complete = found[0], found[4], found[5], found[6]
            if not complete and _ends_a_line(path, offset) and _stands(journal, number, lines):
                return OutputFile(journal, number, handle, name, offset)
    number = journal.next_output()
    journal.writer.put("delete from output where path = ?", name)
    statement = "insert into output (number, path, source, device, inode) values (?, ?, ?, ?, ?)"
    journal.writer.put(statement, number, name, source or "", about.st_dev, about.st_ino)
    return OutputFile(journal, number, handle, name, 0)


def _stands(journal: Journal, number: int, lines: int) -> bool:
    if journal.db.execute(_LINES, (number,)).fetchone() != (lines, 0):
        return False
    results = journal.db.execute(_RESULTS, (number,))
    return all(missing(pictures_of(text), journal.root) is None for (text,) in results)


def _ends_a_line(path: Path, offset: int) -> bool:
    if not offset:
        return True
    try:
        with path.open("rb") as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False
