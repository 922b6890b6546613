"""The same job done otherwise: under another profile, one rung down the fallback ladder, or by another model and quality."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from headrace.caching import BY_MEANING
from headrace.forecast.work import Kind, Work
from headrace.models import AUTO, catalogue
from headrace.rungs import at_alternative, cheaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.forecast.survey import Survey
    from headrace.records import Request
    from headrace.settings import AlternativeSettings, RequestSettings, Settings

NEXT, LOWEST = "the next lower quality", "the lowest quality and the fewest tokens"


@attrs.frozen(kw_only=True)
class Variant:
    """One other way to do it."""

    name: str
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    works: tuple[Work, ...]
    refused: int = 0
    """Prompts that could not be done so."""
    elsewhere: bool = False
    """Whether the pools are those of the alternative API."""


def profiles(survey: Survey, requests: Mapping[str, RequestSettings]) -> Iterator[Variant]:
    """Each profile; ``requests`` are what prompts would ask for under it where their lines say nothing."""
    for name, asked in requests.items():

        def under(kind: Kind, asked: RequestSettings = asked) -> Kind:
            changed = {each: getattr(asked, each) for each in ("model", "size", "quality") if each not in kind.given}
            return attrs.evolve(kind, **changed)

        works, refused = _made(survey, under)
        yield Variant(name=name, model=asked.model, size=asked.size, quality=asked.quality, works=works, refused=refused)


def rungs(survey: Survey, settings: Settings) -> Iterator[Variant]:
    """Each rung of the ladder, as if every request had to go down to it; what the cache gives it gives still."""
    paid = survey.paid.values()
    for rung in settings.fallback.ladder:
        if rung == "reduced_quality":
            for name, place in ((NEXT, 0), (LOWEST, -1)):
                yield Variant(name=f"{rung}: {name}", works=tuple(work.of(_lower(work.kind, place)) for work in paid))
        elif rung == "cached_similar" and settings.cache.policy in BY_MEANING:
            yield Variant(name=rung, works=())
        elif rung == "alternative_api" and (other := settings.fallback.alternative) is not None:
            works = tuple(work.of(_there(work.kind, other)) for work in paid)
            yield Variant(name=rung, model=other.model, size=other.size, quality=other.quality, works=works, elsewhere=True)


def models(survey: Survey) -> Iterator[Variant]:
    """Every living model at each of its qualities, at the sizes that were asked for or the nearest to them."""
    today = datetime.now(UTC).date()
    for model in catalogue().models.values():
        if model.retired(today):
            continue
        for quality in model.qualities:

            def with_it(kind: Kind, name: str = model.name, quality: str = quality) -> Kind:
                size = kind.size if kind.size == AUTO else catalogue().model(name).nearest_size(kind.size)
                return attrs.evolve(kind, model=name, size=size, quality=quality)

            works, refused = _made(survey, with_it)
            yield Variant(name=model.name, model=model.name, quality=quality, works=works, refused=refused)


def _made(survey: Survey, change: Callable[[Kind], Kind]) -> tuple[tuple[Work, ...], int]:
    """What there is to pay for, and how many prompts are refused; what is stored or finished is of no use for other parameters."""
    works: list[Work] = []
    refused = 0
    for held, paid in ((survey.paid, True), (survey.stored, False), (survey.finished, False)):
        for kind, work in held.items():
            changed = change(kind)
            if catalogue().model(changed.model).problem(changed.request) is not None:
                refused += work.requests
            elif paid or _asked(changed) != _asked(kind):
                works.append(work.of(changed))
    return tuple(works), refused


def _asked(kind: Kind) -> tuple[str, str, str]:
    return kind.model, kind.size, kind.quality


def _lower(kind: Kind, place: int) -> Kind:
    steps = list(cheaper(kind.request))
    return _kind(steps[place]) if steps else kind


def _there(kind: Kind, other: AlternativeSettings) -> Kind:
    return _kind(at_alternative(kind.request, other))


def _kind(request: Request) -> Kind:
    return Kind(request.model, request.size, request.quality, request.n)
