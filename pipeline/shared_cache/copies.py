"""Pictures of hits at the shared place: a process that was killed may have kept them for its machine alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from headrace.log import ids, log
from headrace.places import said
from headrace.records import Strategy
from headrace.shared_cache.pictures import AGAIN_S, PATIENCE_S, place_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.places import Place
    from headrace.records import Result
    from headrace.settings import Settings


def copies_of(settings: Settings) -> Copies | None:
    """Who has them there; None where there is no such place.

    Raises:
        UsageError: there is none that this installation knows.
    """
    where = settings.cache.shared
    if where is None or settings.run.simulate:
        return None
    return Copies(place_at(where), Path(settings.run.out_dir))


class Copies:
    """The way to the place, for results that have left their line. One that fails, or hangs, is left alone for a while.

    Args:
        place: the shared one.
        root: the output folder.
    """

    def __init__(self, place: Place, root: Path) -> None:
        self._place = place
        self._root = root
        self._again_at = float("-inf")

    def share(self, results: Sequence[Result]) -> None:
        """Have the pictures of those that are hits there; blocks for as long as a place is waited for."""
        hits = [result for result in results if result.images and result.strategy is not Strategy.PRIMARY]
        if not hits or time.monotonic() < self._again_at:
            return
        # Where it hangs, nobody waits for it, at the end of the process either.
        sharing = threading.Thread(target=self._share, args=(hits,), name="headrace-copies", daemon=True)
        sharing.start()
        sharing.join(PATIENCE_S)
        if sharing.is_alive():
            self._lose(hits[0], trio.TooSlowError())

    def _share(self, hits: Sequence[Result]) -> None:
        for result in hits:
            try:
                for picture in result.images:
                    if not self._place.has(picture.path, picture.bytes):
                        self._place.put(self._root / picture.path, picture.path)
            except Exception as error:  # noqa: BLE001 - every store has errors of its own
                self._lose(result, error)
                return

    def _lose(self, result: Result, error: Exception) -> None:
        if time.monotonic() >= self._again_at:
            log.warning("picture_not_shared", **ids(result), error=said(error), next="it lies in the output folder, and so may others")
        self._again_at = time.monotonic() + AGAIN_S
