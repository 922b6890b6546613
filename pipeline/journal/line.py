"""One line's part in the journal: every record of the input finds its item, and what earlier runs know of it."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs

from headrace.journal.database import readable
from headrace.journal.identity import identity_of
from headrace.journal.stored import missing, restored, stored
from headrace.journal.writer import MANY
from headrace.log import ids, log
from headrace.records import Failure, Kind, Problem, Prompt, Result, Status, Strategy
from headrace.results import failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headrace.journal.journal import Journal
    from headrace.records import Part

_FIND = "select number, final, result, output from item where identity = ? and line < ? order by line desc, number"
_DOUBTS = "select count(*) from attempt where item = ? and outcome is null"
_ENTER = "insert into item (number, identity, line, name, prompt, read_at) values (?, ?, ?, ?, ?, ?)"
_FINISH = "update item set status = ?, final = ?, pictures = ?, result = ?, ended_at = ? where number = ?"
_IN_DOUBT = "a run that was killed may have paid for it, its answer is lost; --in-doubt retry asks again"
_FOR_GOOD = frozenset({Kind.MODERATION_BLOCKED, Kind.CONTENT_POLICY_VIOLATION, Kind.BAD_LINE})
_LONGEST = 32_000
"""Characters of a prompt that are kept: no model takes more."""
_Found = tuple[int, int, str, int | None]


class JournalLine:
    """What one line reads and writes.

    Args:
        journal: of all lines.
        url: the API that answers: what another one made is not what was asked for.
        number: of this line.
        output: number of the output file that the lines go into; None where that is not known to the journal.
    """

    def __init__(self, journal: Journal, url: str, number: int, output: int | None) -> None:
        self._journal = journal
        self._writer = journal.writer
        self._url = url
        self._number = number
        self._output = output
        # Items of lines that are at work beside this one, or were when it began, are theirs.
        self._before = journal.oldest_line()
        # A look-up takes 30 us, a tenth of what a prompt from the cache takes in all.
        self._anything = journal.db.execute("select 1 from item where line < ? limit 1", (self._before,)).fetchone() is not None

    async def recall(self, record: Prompt | Result) -> Prompt | Result:
        """The record with its item; the result in its place where an earlier run has it.

        Equal records without an id of their own are told apart by their number: the second finds the second item.
        """
        if self._writer.pending > 2 * MANY:
            await self._writer.durable()
        with readable(self._journal.root):
            return self._recalled(record, identity_of(record, self._url))

    def _recalled(self, record: Prompt | Result, identity: bytes) -> Prompt | Result:
        found = self._claim(identity, record.id)
        if found is None:
            number = self._journal.next_item()
            self._writer.put(_ENTER, number, identity, self._number, record.id, _words(record), time.time())
            return attrs.evolve(record, item=number)
        number, final, text, output = found
        record = attrs.evolve(record, item=number)
        if final and (result := self._restored(text, record)) is not None:
            return attrs.evolve(result, written=output is not None and output == self._output)
        (doubts,) = self._journal.db.execute(_DOUBTS, (number,)).fetchone()
        return self._doubtful(record, number, doubts) if doubts and isinstance(record, Prompt) else record

    async def answered(self, result: Result, cost_usd: float | None, parts: Sequence[Part]) -> None:
        """Have it on the disk that a prompt was answered and paid for, its pictures under their final names first.

        Raises:
            OutputError: that cannot be had.
        """
        self._writer.place(parts)
        self._finish(result)
        paid = "update attempt set outcome = 'paid', cost_usd = ?, ended_at = ? where item = ? and outcome is null"
        self._writer.put(paid, cost_usd, time.time(), result.item)
        await self._writer.durable()

    async def ended(self, result: Result) -> None:
        """A record has a result that nothing was paid for.

        What the cache gives it gives again, and nobody waits for the disk; what another prompt was paid for may be in no cache.
        """
        if result.recalled:
            return
        self._finish(result)
        if result.strategy is Strategy.COALESCED:
            await self._writer.durable()

    def _finish(self, result: Result) -> None:
        final = result.status is Status.OK or (result.error is not None and _lasts(result.error))
        if final and result.item is not None:
            self._journal.settle_doubts(result.item)
        self._writer.put(_FINISH, result.status.value, final, len(result.images), stored(result), time.time(), result.item)

    def _claim(self, identity: bytes, name: str) -> _Found | None:
        journal = self._journal
        if not self._anything:
            return None
        found: _Found
        for found in journal.db.execute(_FIND, (identity, self._before)):
            number = found[0]
            if number not in journal.claimed:
                # Until that is committed it can still be found.
                journal.claimed.add(number)
                release = partial(journal.claimed.discard, number)
                self._writer.put("update item set line = ?, name = ? where number = ?", self._number, name, number, then=release)
                return found
        return None

    def _restored(self, text: str, record: Prompt | Result) -> Result | None:
        result = restored(text, record)
        if result is None:
            log.warning("journal_row_broken", **ids(record))
            return None
        if (path := missing(result.images, self._journal.root)) is not None:
            log.warning("picture_missing", **ids(record), picture=path, next="it is made again")
            return None
        return result

    def _doubtful(self, prompt: Prompt, number: int, doubts: int) -> Prompt | Result:
        if self._journal.hold:
            self._journal.held += 1
            return failed(prompt, Failure(prompt=prompt, problem=Problem(kind=Kind.IN_DOUBT, message=_IN_DOUBT, retryable=True)))
        self._journal.doubtful[number] = doubts
        return prompt


def _words(record: Prompt | Result) -> str | None:
    # A line that is no prompt may be anything: half of a surrogate pair is no text for SQLite, and a book is no prompt.
    words = record.request.prompt if isinstance(record, Prompt) else record.prompt
    return None if words is None else words[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def _lasts(problem: Problem) -> bool:
    # What was decided here, by limits or models that may be others tomorrow, costs nothing to decide again.
    return problem.kind in _FOR_GOOD or (problem.kind is Kind.BAD_REQUEST and problem.status is not None)


@asynccontextmanager
async def journal_line(journal: Journal, url: str, output: int | None) -> AsyncIterator[JournalLine]:
    """The part of one line as long as it runs; see :class:`JournalLine`."""
    # What the lines before it have put has to be found.
    await journal.writer.durable()
    with journal.at_work() as number:
        yield JournalLine(journal, url, number, output)
