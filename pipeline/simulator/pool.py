"""One organisation at work: what of its limits is used, who is let in and who is told to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from headrace.simulator.windows import make_window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    """What an organisation has let in so far, strangers left out; times are those of ``trio.current_time``."""

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
        self.settings = settings
        self._charge_rejected = charge_rejected
        self._own = 0
        self._strangers = 0
        self._windows: dict[str, Window] = {}
        self._set_windows(0.0)

    def admit(self, images: int, tokens: int, now: float, *, stranger: bool = False) -> Refusal | None:
        """Let a call in and charge it, or say why not; whoever is let in must :meth:`leave`.

        A stranger's call uses the limits up like any other and stays out of ``accepted`` and ``peak``.
        """
        amounts = {IMAGES: images, REQUESTS: 1, TOKENS: tokens}
        refusal = self._refusal(amounts, now)
        if refusal is None:
            self._charge(amounts, now)
            if stranger:
                self._strangers += 1
            else:
                self._enter(images, now)
        elif self._charge_rejected:
            # Tokens are what a generation takes; a call that never started one took none.
            self._charge({IMAGES: images, REQUESTS: 1}, now)
            # The charge has put off what it is told to wait for: by an earlier figure it would come too soon for ever.
            return self._refusal(amounts, now)
        return refusal

    def leave(self, *, stranger: bool = False) -> None:
        """A call that was let in is over."""
        if stranger:
            self._strangers -= 1
        else:
            self._own -= 1

    def change(self, limits: Mapping[str, Any], now: float) -> None:
        """From ``now`` on, other limits, by their names in the settings; None is none.

        Raises:
            ValueError: they are not limits that a pool can have.
        """
        self.settings = attrs.evolve(self.settings, **limits)
        self._set_windows(now)

    def levels(self, now: float) -> Iterator[tuple[str, float, float, float]]:
        """Of each limit: the dimension, the limit, what remains of it, and the seconds until it is full."""
        for dimension, window in self._windows.items():
            yield dimension, window.limit, max(0.0, window.limit - window.used(now)), window.full_s(now)

    def _set_windows(self, now: float) -> None:
        settings = self.settings
        for dimension, limit in (
            (IMAGES, settings.images_per_minute),
            (REQUESTS, settings.requests_per_minute),
            (TOKENS, settings.tokens_per_minute),
        ):
            window = self._windows.get(dimension)
            if limit is None:
                self._windows.pop(dimension, None)
            elif window is None:
                self._windows[dimension] = make_window(settings.discipline, limit, burst_s=settings.burst_s, window_s=settings.window_s)
            else:
                window.resize(limit, now)

    def _charge(self, amounts: Mapping[str, int], now: float) -> None:
        for dimension, amount in amounts.items():
            if dimension in self._windows:
                self._windows[dimension].charge(amount, now)

    def _enter(self, images: int, now: float) -> None:
        self._own += 1
        self.peak = max(self.peak, self._own)
        before = self.accepted
        self.accepted = Accepted(
            number=before.number + 1,
            images=before.images + images,
            first=now if before.first is None else before.first,
            last=now,
        )

    def _refusal(self, amounts: Mapping[str, int], now: float) -> Refusal | None:
        cap, active = self.settings.max_concurrency, self._own + self._strangers
        if cap is not None and active >= cap:
            return Refusal(dimension=None, limit=cap, used=active, requested=1, wait_s=0.0)
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
