"""What the cache is worth: the measured run in place of made-up constants. Pure, but for reading the journal.

The comparison is the same job without the cache: every answered prompt is paid for, at the price that the run was charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from headrace.errors import UsageError
from headrace.money import money
from headrace.report.books import read_books
from headrace.report.rows import journal_rows
from headrace.report.words import number, share

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.report.books import Books

DAYS = 30
MONTHS = 12
_MOST = 1e12
"""More than there is to be had, and no sum of it is infinite."""


@attrs.frozen(kw_only=True)
class Measured:
    """What a folder's runs came to. Amounts are USD."""

    prompts: int
    """That have a result."""
    answered: int
    made: int
    """Prompts that pictures were made for, and paid."""
    free: int
    """Prompts that were given a picture that was there."""
    pictures_made: int
    paid_usd: float
    """For pictures that were used."""
    saved_usd: float
    """What those that were given again had cost."""
    spoilt_usd: float
    """For pictures that could not be used."""
    doubtful_usd: float
    """For calls whose answer never came: perhaps paid."""
    refused_calls: int
    calls: int
    simulated: str | None
    """``simulated`` or ``partly simulated``, where money was play money."""
    price_unknown: bool


@attrs.frozen(kw_only=True)
class Return:
    """What a folder's runs would be worth at a volume of prompts a day. Amounts are USD."""

    measured: Measured
    volume: float
    """Prompts a day."""
    setup_usd: float
    """What it cost to set up."""

    @property
    def answered_share(self) -> float:
        """Prompts that got a picture, of those that have a result."""
        return self.measured.answered / self.measured.prompts

    @property
    def price_usd(self) -> float:
        """What an answered prompt would have cost, had all been paid for."""
        return (self.measured.paid_usd + self.measured.saved_usd) / self.measured.answered

    @property
    def made_price_usd(self) -> float | None:
        """Of one picture that was made; None where none was."""
        return self.measured.paid_usd / self.measured.pictures_made if self.measured.pictures_made else None

    @property
    def free_share(self) -> float:
        """Of that price, what the cache did not have to pay again."""
        return self.measured.saved_usd / (self.measured.paid_usd + self.measured.saved_usd)

    @property
    def wasted_share(self) -> float:
        """What was paid, or perhaps paid, for nothing, on top of what was paid for pictures."""
        wasted = self.measured.spoilt_usd + self.measured.doubtful_usd
        return wasted / self.measured.paid_usd if self.measured.paid_usd else 0.0

    @property
    def without_usd(self) -> float:
        """A month without the cache."""
        return DAYS * self.volume * self.answered_share * self.price_usd * (1 + self.wasted_share)

    @property
    def with_usd(self) -> float:
        """A month with it."""
        return self.without_usd * (1 - self.free_share)

    @property
    def saving_usd(self) -> float:
        """A month."""
        return self.without_usd - self.with_usd

    @property
    def payback_months(self) -> float | None:
        """Until the setup is paid back; None where it never is."""
        return self.setup_usd / self.saving_usd if self.saving_usd > 0 else None

    @property
    def yearly_return(self) -> float | None:
        """What a year brings beyond the setup, as a part of it; None where the setup cost nothing."""
        return (MONTHS * self.saving_usd - self.setup_usd) / self.setup_usd if self.setup_usd > 0 else None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        names = ("answered_share", "price_usd", "made_price_usd", "free_share", "wasted_share", "without_usd", "with_usd", "saving_usd")
        figures = {name: getattr(self, name) for name in (*names, "payback_months", "yearly_return")}
        return {"volume": self.volume, "setup_usd": self.setup_usd, "measured": attrs.asdict(self.measured), **figures}


def return_of(folder: Path, volume: float | None, setup_usd: float) -> Return:
    """What the cache of the runs in ``folder`` is worth.

    Args:
        folder: the output folder of a run.
        volume: prompts a day; those of the folder, once a day, where absent.
        setup_usd: what it cost to set up.

    Raises:
        UsageError: there is no journal, it cannot be read, or nothing in it has a price; or a figure is none.
    """
    for name, value in (("volume", volume), ("setup cost", setup_usd)):
        if value is not None and not 0 <= value <= _MOST:  # written so that NaN fails
            raise UsageError(f"the {name} is {value}; it has to be a number of at least 0, and at most {_MOST:,.0f}")
    with journal_rows(folder) as rows:
        measured = _measured(read_books(rows, folder))
    if not measured.answered or not measured.paid_usd + measured.saved_usd:
        why = "the prices of its models are unknown" if measured.price_unknown else "no prompt was answered for money"
        raise UsageError(f"{folder} has nothing to go by: {why}")
    return Return(measured=measured, volume=measured.prompts if volume is None else volume, setup_usd=setup_usd)


def _measured(books: Books) -> Measured:
    answers, calls = books.answers, books.calls
    return Measured(
        prompts=answers.ended,
        answered=answers.by_status["ok"],
        made=answers.by_status["ok"] - answers.free,
        free=answers.free,
        pictures_made=calls.pictures,
        paid_usd=calls.cost_usd - calls.spoilt_usd,
        saved_usd=answers.saved_usd,
        spoilt_usd=calls.spoilt_usd,
        doubtful_usd=calls.unknown_usd,
        refused_calls=calls.refusals,
        calls=calls.total,
        simulated=books.simulated,
        price_unknown=answers.price_unknown,
    )


def lines(found: Return, folder: str) -> Iterator[str]:
    """What is shown of it, the formula with its numbers."""
    measured = found.measured
    play = f"{measured.simulated} " if measured.simulated else ""
    if measured.simulated:
        nothing = "nothing" if measured.simulated == "simulated" else "not all of it"
        yield f"{measured.simulated}: amounts are what the API would have charged; {nothing} was paid"
    yield f"measured in {folder}, over all of its runs:"
    for name, text in _figures(found, play):
        yield f"  {name:<18} {text}"
    yield "compared with the same job without the cache, every answered prompt paid at that price:"
    for name, text in (*_formula(found, play), *_setup(found, play)):
        yield f"  {name:<18} {text}"
    if measured.price_unknown:
        yield "some prices are unknown, and not in it"


def _figures(found: Return, play: str) -> Iterator[tuple[str, str]]:
    measured = found.measured
    yield "answered", f"{share(found.answered_share)} ({number(measured.answered)} of {number(measured.prompts)} prompts)"
    made = f"{play}{money(measured.paid_usd)} for {number(measured.pictures_made)} pictures"
    yield "a picture made", f"{money(found.made_price_usd)} ({made})"
    yield "an answered prompt", f"{money(found.price_usd)}, had every one been paid for"
    yield "served free", f"{share(measured.free / measured.answered)} of them, {share(found.free_share)} of their price"
    wasted = f"{money(measured.spoilt_usd)} spoilt, {money(measured.doubtful_usd)} perhaps paid"
    yield "paid for nothing", f"{share(found.wasted_share)} on top ({wasted})"
    yield "refused calls", f"{share(measured.refused_calls / measured.calls if measured.calls else 0.0)} (429); they cost nothing"


def _formula(found: Return, play: str) -> Iterator[tuple[str, str]]:
    # With so many digits that whoever does the sum again comes to the same cents.
    measured, free, wasted = found.measured, f"{100 * found.free_share:.3f}%", f"{100 * found.wasted_share:.3f}%"
    prompts = f"{DAYS} days x {number(found.volume)} prompts x {measured.answered}/{measured.prompts}"
    yield "without the cache", f"{prompts} x ${found.price_usd:.6g} x (1 + {wasted}) = {play}{money(found.without_usd)} a month"
    yield "with it", f"{money(found.without_usd)} x (1 - {free}) = {play}{money(found.with_usd)} a month"
    yield "monthly saving", f"{money(found.without_usd)} - {money(found.with_usd)} = {play}{money(found.saving_usd)}"


def _setup(found: Return, play: str) -> Iterator[tuple[str, str]]:
    months = found.payback_months
    if not found.setup_usd:
        yield "payback", "at once: no --setup-cost was named"
    elif months is None or found.yearly_return is None:
        yield "payback", f"never: there is no saving to set against {money(found.setup_usd)}"
    else:
        yield "payback", f"{money(found.setup_usd)} / {play}{money(found.saving_usd)} = {months:,.1f} months"
        gain = f"({MONTHS} x {money(found.saving_usd)} - {money(found.setup_usd)}) / {money(found.setup_usd)}"
        yield "yearly return", f"{gain} = {share(found.yearly_return)}"
