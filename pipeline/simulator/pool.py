"""One organisation at work: what of its limits is used, who is let in and who is told to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from headrace.simulator.windows import make_window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.simulator.settings import SimulatedPool
    from headrace.simulator.windows import Window

IMAGES = "input-images"
REQUESTS = "requests"
TOKENS = "tokens"


@attrs.frozen(kw_only=True)
class Refusal:
    """Why a call was not let in."""

    dimension: str | None
    """Which limit; None is the number of calls at once."""
    limit: float
    used: float
    requested: float
    wait_s: float
    """Seconds until it would fit; infinity where it never will."""


@attrs.frozen(kw_only=True)
class Accepted:
    """What an organisation has let in so far; times are those of ``trio.current_time``."""

    number: int = 0
    """Calls."""
    images: int = 0
    first: float | None = None
    last: float | None = None


class Pool:
    """The limits of one organisation; all or nothing: a call is charged to every limit, or let in by none."""

    def __init__(self, settings: SimulatedPool, *, charge_rejected: bool) -> None:
        self.name = settings.name
        self.benched: str | None = None
        """Name of the money fault that every call now ends with."""
        self.peak = 0
        self.accepted = Accepted()
        self._settings = settings
        self._charge_rejected = charge_rejected
        self._active = 0
        self._windows: dict[str, Window] = {}
        for dimension, limit in (
            (IMAGES, settings.images_per_minute),
            (REQUESTS, settings.requests_per_minute),
            (TOKENS, settings.tokens_per_minute),
        ):
            if limit is not None:
                self._windows[dimension] = make_window(settings.discipline, limit, settings.burst_s)

    def admit(self, images: int, tokens: int, now: float) -> Refusal | None:
        """Let a call in and charge it, or say why not; whoever is let in must :meth:`leave`."""
        amounts = {IMAGES: images, REQUESTS: 1, TOKENS: tokens}
        refusal = self._refusal(amounts, now)
        if refusal is None:
            charged = tuple(self._windows)
            self._active += 1
            self.peak = max(self.peak, self._active)
            before = self.accepted
            self.accepted = Accepted(
                number=before.number + 1,
                images=before.images + images,
                first=now if before.first is None else before.first,
                last=now,
            )
        else:
            # Tokens are what a generation takes; a call that never started one took none.
            charged = (IMAGES, REQUESTS) if self._charge_rejected else ()
        for dimension in charged:
            if dimension in self._windows:
                self._windows[dimension].charge(amounts[dimension], now)
        return refusal

    def leave(self) -> None:
        """A call that was let in is over."""
        self._active -= 1

    def change_images(self, limit: float | None, now: float) -> None:
        """From ``now`` on, another limit of images a minute; None is none."""
        window = self._windows.get(IMAGES)
        if limit is None:
            self._windows.pop(IMAGES, None)
        elif window is None:
            self._windows[IMAGES] = make_window(self._settings.discipline, limit, self._settings.burst_s)
        else:
            window.resize(limit, now)

    def levels(self, now: float) -> Iterator[tuple[str, float, float, float]]:
        """Of each limit: the dimension, the limit, what remains of it, and the seconds until it is full."""
        for dimension, window in self._windows.items():
            yield dimension, window.limit, max(0.0, window.limit - window.used(now)), window.full_s(now)

    def _refusal(self, amounts: dict[str, int], now: float) -> Refusal | None:
        cap = self._settings.max_concurrency
        if cap is not None and self._active >= cap:
            return Refusal(dimension=None, limit=cap, used=self._active, requested=1, wait_s=0.0)
        waits = {name: window.wait_s(amounts[name], now) for name, window in self._windows.items()}
        # The longest wait is the one that a caller can act on: after a shorter one it would be refused again.
        dimension = max(waits, key=waits.__getitem__, default=None)
        if dimension is None or waits[dimension] <= 0:
            return None
        window = self._windows[dimension]
        return Refusal(
            dimension=dimension,
            limit=window.limit,
            used=window.used(now),
            requested=amounts[dimension],
            wait_s=waits[dimension],
        )
