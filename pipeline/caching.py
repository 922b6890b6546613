"""Which cache a run has: settings become the store, the answers and, where the policy decides by meaning, what finds twins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
import trio

from headrace.cache.answers import Answers
from headrace.cache.in_flight import InFlight
from headrace.cache.store import Store
from headrace.errors import UsageError
from headrace.log import log
from headrace.offload import Threads
from headrace.settings import CacheSettings

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from headrace.cache.encoder import Encoder
    from headrace.cache.judge import Judge
    from headrace.cache.meaning import Meaning
    from headrace.cache.search import Search
    from headrace.disk import Disk
    from headrace.offload import Offload
    from headrace.settings import Settings

DAY_S = 86_400.0
FALSE_HITS_BY_COSINE = "48 % of 20,696 pairs of prompts that differ in what is to be seen share a picture at 0.92 (docs/cache.md)"
BY_MEANING = ("verified", "cosine")
TIERS = {"off": (), "exact": ("exact",)}
"""Tiers that look a key up, by policy; all other policies have both."""
BY_KEY = ("exact", "canonical")


@attrs.frozen(kw_only=True)
class Cache:
    """What the lines of a run share of answers."""

    answers: Answers
    meaning: Meaning | None
    semantic: bool
    """Whether prompts are matched by more than their letters."""
    in_flight: InFlight

    async def run(self) -> None:
        """Evict what is too much, and answer what is asked by meaning; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.answers.run)
            if self.meaning is not None:
                nursery.start_soon(self.meaning.run)


def open_cache(
    settings: Settings, root: Path, offload: Offload | None, encoder: Encoder | None, stack: AsyncExitStack, disk: Disk
) -> Cache | None:
    """The cache of the settings, or None; the ``stack`` closes it.

    Raises:
        UsageError: the folder cannot hold one, or the verifier cannot be used.
    """
    wanted = settings.cache
    if wanted.policy == "off":
        return None
    judge = judge_of(wanted) if wanted.policy in BY_MEANING else None
    folder = folder_of(settings, root)
    if os.path.realpath(os.path.expanduser(folder)) == os.path.realpath(root):  # noqa: PTH111 - a home that is not there is no error here
        raise UsageError(f"cache and pictures have the same folder, {root}; choose another: the cache removes what is too old")
    store = Store(folder, wanted.ttl_days * DAY_S)
    stack.callback(store.close)
    answers = Answers(store, root, offload or Threads(1), max_entries=wanted.max_entries, max_bytes=wanted.max_bytes, disk=disk)
    stack.callback(answers.close)
    flights = InFlight()
    meaning = None if judge is None else _meaning(wanted, store, judge, flights, offload or Threads(1), encoder)
    return Cache(answers=answers, meaning=meaning, semantic=wanted.policy != "exact", in_flight=flights)


def folder_of(settings: Settings, root: Path) -> Path | str:
    """Where the cache lies: made-up pictures stay out of the cache of real ones."""
    own = settings.run.simulate and settings.cache.dir == CacheSettings().dir
    return root / "cache" if own else settings.cache.dir


def judge_of(settings: CacheSettings) -> Judge:
    """Who decides about candidates.

    Raises:
        UsageError: the verifier's file cannot be used, or knows no operating point for the budget.
    """
    from headrace.cache.judge import Cosine, Verified  # noqa: PLC0415 - policies that need none do not wait for it
    from headrace.cache.verifier import Verifier  # noqa: PLC0415

    if settings.policy == "cosine":
        log.warning("cache_by_cosine", threshold=settings.cosine_threshold, measured=FALSE_HITS_BY_COSINE)
        return Cosine(settings.cosine_threshold)
    file = None if settings.verifier is None else os.path.expanduser(settings.verifier)  # noqa: PTH111 - see above
    return Verified(Verifier.load(file), settings.false_hit_budget)


def _meaning(settings: CacheSettings, store: Store, judge: Judge, flights: InFlight, offload: Offload, encoder: Encoder | None) -> Meaning:
    from headrace.cache.encoder import steps  # noqa: PLC0415
    from headrace.cache.meaning import Meaning  # noqa: PLC0415

    def search(encoder: Encoder) -> Search:
        from headrace.cache.search import Search  # noqa: PLC0415 - FAISS and numpy, in the thread that calls it

        return Search(store.folder, encoder, min(judge.floor, settings.similar_threshold), settings.ttl_days * DAY_S)

    return Meaning(
        steps=[lambda: encoder] if encoder is not None else steps(settings.encoder),
        search=search,
        judge=judge,
        store=store,
        flights=flights,
        offload=offload,
    )
