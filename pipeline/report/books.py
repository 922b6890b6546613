"""Everything that a report says in figures, added up from the journal in one pass over each of its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from headrace.journal.database import at_work
from headrace.report.answers import Answers
from headrace.report.calls import Calls
from headrace.report.limits import allowed, pools_of
from headrace.report.worktime import WorkTime

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.report.limits import Pool
    from headrace.report.rows import Rows

_MONTH_S = 30 * 86_400.0


@attrs.frozen(kw_only=True)
class Books:
    """The figures of an output folder. Times are seconds since 1970, amounts USD."""

    work: WorkTime
    settings: dict[str, Any]
    """What the last run was asked to do."""
    runs: int
    running: bool
    complete: bool
    """Whether the last run came to the end of its input, as far as the journal knows."""
    answers: Answers
    calls: Calls
    pools: dict[str, Pool]
    allowed: Sequence[float | None]
    """Pictures a minute at each point of the charts."""
    asked_s: float
    """Seconds between being read and being answered, or the last call, added up over the prompts that calls were made for."""

    @property
    def asked(self) -> list[str]:
        """Model, quality, size and cache of the last run, as far as they are known."""
        known = [str(self.settings[name]) for name in ("model", "quality", "size") if self.settings.get(name)]
        return [*known, f"cache {self.settings['cache']}"] if self.settings.get("cache") else known

    @property
    def simulated(self) -> str | None:
        """Which of its money is play money: ``simulated``, ``partly simulated``, or None."""
        if self.calls.simulated == self.calls.total:
            return "simulated" if self.calls.total or self.settings.get("simulated") else None
        return "partly simulated" if self.calls.simulated else None

    @property
    def calling_s(self) -> float:
        """Seconds at work from the first call to the end of the last."""
        first, last = self.calls.first_at, self.calls.last_at
        return 0.0 if first is None or last is None else self.work.at(last) - self.work.at(first)

    @property
    def pace(self) -> float | None:
        """Pictures made a minute, from the first call to the end of the last."""
        return self.calls.pictures * 60 / self.calling_s if self.calling_s > 0 else None

    @property
    def share_of_limits(self) -> float | None:
        """Pictures made, as a part of what the limits allowed meanwhile; None where no limit was known."""
        first, last, step = self.calls.first_at, self.calls.last_at, self.work.step_s
        if first is None or last is None or self.calls.pictures == 0:
            return None
        begin, end, room = self.work.at(first), self.work.at(last), 0.0
        for point, rate in enumerate(self.allowed):
            seconds = min(end, (point + 1) * step) - max(begin, point * step)
            if seconds > 0:
                if rate is None:
                    return None
                room += rate * seconds / 60
        return self.calls.pictures / room if room else None

    @property
    def wasted_usd(self) -> float:
        """Paid for nothing, and perhaps paid for nothing."""
        return self.calls.spoilt_usd + self.calls.unknown_usd

    def a_month(self, usd: float) -> float | None:
        """What 30 days cost that go on at this pace; None where there was no time at work."""
        return usd * _MONTH_S / self.work.total_s if self.work.total_s > 0 else None


def read_books(rows: Rows, folder: Path) -> Books:
    """The figures of the journal in ``folder``.

    Raises:
        sqlite3.Error: it is damaged.
    """
    # What each run kept of a hundred pools is read again where it is needed, and not held for all of them.
    spans: list[tuple[float, float]] = []
    settings: dict[str, Any] = {}
    for run in rows.runs():
        spans.append((run.started_at, run.seen_at))
        settings = run.settings
    work = WorkTime(_spans(spans, rows))
    answers, calls = Answers(work), Calls(work)
    for call in rows.attempts():
        calls.add(call)
    for item in rows.items():
        answers.add(item)
    pools = pools_of(calls, rows.runs(), rows.limits())
    return Books(
        work=work,
        settings=settings,
        runs=len(spans),
        running=at_work(folder),
        complete=rows.complete(),
        answers=answers,
        calls=calls,
        pools=pools,
        allowed=allowed(pools, rows.limits(), work),
        asked_s=sum(max(0.0, work.at(ended) - work.at(read)) for read, ended in rows.asked()),
    )


def _spans(runs: Sequence[tuple[float, float]], rows: Rows) -> list[tuple[float, float]]:
    """Each run from its start to the last that is known of it: a kill comes up to ten seconds behind its last word."""
    begins, ends = [started for started, _ in runs], [seen for _, seen in runs]
    earlier: list[float] = []
    at = -1
    for call in rows.attempts():
        while at + 1 < len(begins) and begins[at + 1] <= call.sent_at:
            at += 1
        moment = call.ended_at or call.sent_at
        if at < 0:
            earlier += [call.sent_at, moment]  # of a headrace that kept no runs
            earlier = [min(earlier), max(earlier)]
        else:
            ends[at] = max(ends[at], min(moment, begins[at + 1]) if at + 1 < len(begins) else moment)
    before = [(earlier[0], earlier[1])] if earlier else []
    return [*before, *zip(begins, ends, strict=True)]
