"""Which shared cache a run has, and whether its place and its store can be used: that is found out before anything is paid for."""

from __future__ import annotations

import re
import secrets
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio

from headrace.errors import UsageError
from headrace.offload import Threads
from headrace.places import probe, said
from headrace.shared_cache.cache import LEAVE_S, SharedCache
from headrace.shared_cache.claims import Claims
from headrace.shared_cache.pictures import AT_ONCE, PATIENCE_S, SETTING, SharedPictures, place_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from random import Random

    from headrace.cache.answers import Answers
    from headrace.disk import Disk
    from headrace.offload import Offload
    from headrace.places import Place
    from headrace.redis.link import Link
    from headrace.settings import Settings

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DAY_S = 86_400.0
_MARK = ".headrace-"
_MARKS = re.compile("[0-9a-f]{16}")


@asynccontextmanager
async def open_shared_cache(
    settings: Settings,
    link: Link,
    answers: Answers,
    api: str,
    root: Path,
    offload: Offload | None,
    disk: Disk,
    random: Random,
) -> AsyncIterator[SharedCache]:
    """Share answers with others.

    Args:
        settings: all of them; they name a place for the pictures.
        link: the way to the store.
        answers: this process's own cache.
        api: the API that answers; answers of different ones never meet.
        root: the output folder.
        offload: where the place blocks; threads by default.
        disk: waits for room in the output folder.
        random: spreads the questions of many processes.

    Raises:
        UsageError: the place or the store cannot be used.
    """
    where = settings.cache.shared or ""
    # A place may hang: whoever gives up leaves it there.
    threads = offload or Threads(AT_ONCE, abandon=True)
    ttl_s = settings.cache.ttl_days * DAY_S
    claims = Claims(link, settings.quota.namespace, ttl_s, random)
    place = await common_place(where, claims, threads)
    worker, numbers = secrets.token_hex(6), count()
    shared = SharedCache(
        claims=claims,
        pictures=SharedPictures(place, where, root, threads, disk),
        answers=answers,
        ttl_s=ttl_s,
        job=settings.cache.job,
        api=api,
        namespace=settings.cache.namespace,
        token=lambda: f"{worker}:{next(numbers)}",
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claims.keep)
        nursery.start_soon(claims.look)
        try:
            yield shared
        finally:
            with trio.move_on_after(LEAVE_S, shield=True):
                await claims.catch_up()
            nursery.cancel_scope.cancel()


async def common_place(where: str, claims: Claims, offload: Offload, *, first: bool = True) -> Place:
    """The place that ``[cache] shared`` names, once it can be written and is the one that all have; ``first`` marks it where nobody has.

    Raises:
        UsageError: it cannot be used, or the store cannot.
    """
    place = await _asked(where, offload, usable_place, where)
    await claims.check()
    # A folder that is not mounted here looks like one without pictures: all would be paid for again.
    mark = await claims.mark()
    if mark == "" and first:
        new = secrets.token_hex(8)
        await _asked(where, offload, place.touch, f"{_MARK}{new}")
        mark = await claims.mark(new)
    if mark and (_MARKS.fullmatch(mark) is None or not await _asked(where, offload, place.has, f"{_MARK}{mark}", 0)):
        raise UsageError(
            f"{SETTING}: {where} is not where other processes with this [quota] store and namespace have their pictures; mount or name "
            f"that place, or delete the key {claims.place} in Redis where the pictures have moved"
        )
    return place


async def _asked(where: str, offload: Offload, function: Callable[[*Ts], T], *args: *Ts) -> T:
    try:
        with trio.fail_after(PATIENCE_S):
            return await offload(function, *args)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - every store has errors of its own
        raise UsageError(f"{SETTING}: {where} cannot be used: {said(error)}") from None


def usable_place(where: str) -> Place:
    """The place that ``[cache] shared`` names, after something could be written there. Blocks; some stores are called when they are opened.

    Raises:
        UsageError: nothing can be written there.
    """
    place = place_at(where)
    # What is not mounted yet must not be taken for an empty folder.
    if "://" not in where and not (folder := Path(where).expanduser()).is_dir():
        raise UsageError(f"{SETTING}: there is no folder {folder}; make it, or mount what is to be there")
    try:
        probe(place)
    except Exception as error:  # noqa: BLE001 - every store has errors of its own
        raise UsageError(f"{SETTING}: {where} cannot be written: {said(error)}") from None
    return place
