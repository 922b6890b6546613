"""The rungs of the fallback ladder: what is tried when a prompt's own request got no picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from headrace.estimate import estimate
from headrace.models import AUTO, catalogue
from headrace.records import Answer, CacheMode, Failure, Kind, Match, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.api import Api
    from headrace.budget import Purse
    from headrace.cache.answers import Answers
    from headrace.cache.meaning import Meaning
    from headrace.records import Request
    from headrace.settings import AlternativeSettings


_ENDS_IN_THE_TRUTH = frozenset({Kind.NO_POOL, Kind.MODEL_NOT_FOUND})
"""A run in which no key or no model works has to say so, and not to hand out similar pictures."""
_LESS_WORK_HELPS = frozenset({Kind.SERVER_ERROR, Kind.OVERLOADED, Kind.TIMEOUT, Kind.BAD_ANSWER, Kind.TOO_LARGE, Kind.WAITED_TOO_LONG})


class Rung(Protocol):
    """One thing to try."""

    async def climb(self, failure: Failure) -> Answer | Failure:
        """Try it: an answer, or the failure that the next rung starts from (the same one where there was nothing to try)."""
        ...


@attrs.frozen
class ReducedQuality:
    """The same API with the next lower quality, then with the fewest tokens that keep the shape of the picture: an attempt each."""

    api: Api
    estimator: str
    purse: Purse

    async def climb(self, failure: Failure) -> Answer | Failure:
        """Try cheaper requests in turn, where less work for the server may be what helps."""
        if failure.estimated is None or failure.problem.kind not in _LESS_WORK_HELPS:
            return failure
        once = attrs.evolve(self.api, retry=attrs.evolve(self.api.retry, attempts=1))
        for request in cheaper(failure.estimated.request):
            outcome = await _try(once, failure, request, self.estimator, Strategy.REDUCED_QUALITY, self.purse)
            if not isinstance(outcome, Failure):
                return outcome
            failure = outcome
            if failure.problem.kind not in _LESS_WORK_HELPS:
                break
        return failure


@attrs.frozen
class CachedSimilar:
    """The picture of the most similar prompt that was ever answered: labelled, told what differs, and never kept as the answer."""

    meaning: Meaning
    answers: Answers
    threshold: float
    """Cosine that is similar enough."""

    async def climb(self, failure: Failure) -> Answer | Failure:
        """Look among the answers for the same parameters; texts, counts and negations have to be the same."""
        prompt = failure.prompt
        if prompt.key is None or prompt.cache is not CacheMode.USE or failure.problem.kind in _ENDS_IN_THE_TRUTH:
            return failure
        twin = await self.meaning.similar(prompt, self.threshold)
        entry = None if twin is None else await self.answers.find_number(twin.number)
        if twin is None or entry is None:
            return failure
        return Answer(
            prompt=prompt,
            request=prompt.request,
            strategy=Strategy.CACHED_SIMILAR,
            pictures=entry.pictures,
            usage=None,
            cost_usd=0.0,
            trail=failure.trail,
            match=Match(of=entry.origin, similarity=twin.cosine, difference=twin.difference, prompt=entry.request.prompt),
        )


@attrs.frozen
class AlternativeApi:
    """Another API, with its own model, limits and keys."""

    api: Api
    settings: AlternativeSettings
    estimator: str
    purse: Purse

    async def climb(self, failure: Failure) -> Answer | Failure:
        """Ask the other API for the prompt's own request, as far as its model can make it."""
        request = at_alternative(failure.prompt.request, self.settings)
        if catalogue().model(request.model).problem(request) is not None:
            return failure
        return await _try(self.api, failure, request, self.estimator, Strategy.ALTERNATIVE_API, self.purse)


def at_alternative(wanted: Request, settings: AlternativeSettings) -> Request:
    """What the other API is asked for in its place: the same, as far as its model can make it."""
    model = catalogue().model(settings.model)
    size = settings.size or wanted.size
    quality = settings.quality or wanted.quality
    if model.known:
        size = size if size == AUTO else model.nearest_size(size)
        quality = quality if quality == AUTO else model.nearest_quality(quality)
    return attrs.evolve(wanted, model=model.name, size=size, quality=quality)


def cheaper(request: Request) -> Iterator[Request]:
    """The requests that ``reduced_quality`` tries, in their order."""
    model = catalogue().model(request.model)
    if not model.known:
        return
    lower = model.lower_quality(request.quality)
    if lower is not None:
        yield attrs.evolve(request, quality=lower)
    lowest = attrs.evolve(request, quality=model.qualities[0])
    smallest = attrs.evolve(lowest, size=model.smallest_size(request.size))
    if model.output_tokens(smallest) < min(model.output_tokens(request), model.output_tokens(lowest) + 1):
        yield smallest


async def _try(api: Api, failure: Failure, request: Request, estimator: str, strategy: Strategy, purse: Purse) -> Answer | Failure:
    estimated = estimate(failure.prompt, request, estimator)
    cost_usd = None if estimated.cost_usd is None else estimated.cost_usd + failure.trail.wasted_usd
    if purse.reserve(failure.prompt.seq, cost_usd) is not None:
        return failure
    admitted = await api.admit(estimated, failure.trail)
    if isinstance(admitted, Failure):
        return admitted
    return await api.answer(admitted, strategy, purse, failure.trail)
