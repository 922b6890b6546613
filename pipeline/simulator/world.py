"""The state of a simulated API: its organisations, the bill, and what happened so far."""

from __future__ import annotations

import random
from collections import Counter
from enum import Enum, auto
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, NoReturn

import trio

from headrace.simulator.faults import FAULTS, Stage
from headrace.simulator.pool import Accepted, Pool
from headrace.simulator.settings import UNLIMITED
from headrace.simulator.stranger import Stranger, ask_for_ever

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.simulator.settings import SimulatorSettings


class _Leave(Enum):
    LEAVE = auto()


LEAVE = _Leave.LEAVE
"""A limit that is not to change."""
Leave = Literal[_Leave.LEAVE]


class World:
    """One simulated API; several apps and servers may share it.

    Raises:
        ValueError: the settings name a fault that there is not.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        unknown = [name for name in settings.faults if name not in FAULTS]
        if unknown:
            raise ValueError(f"there is no fault {unknown[0]!r}; there are {', '.join(FAULTS)}")
        self.settings = settings
        self.bill: Counter[str] = Counter()
        """Prompt -> how often its pictures were paid for, counted when the generation finishes."""
        self.counts: Counter[str] = Counter()
        """Outcome -> calls: ``ok``, ``rate_limited``, ``bad_request``, and the name of every fault."""
        pools = settings.pools or (UNLIMITED,)
        self.strangers: Mapping[str, Stranger] = {pool.name: Stranger() for pool in pools}
        """Pool -> what its strangers asked for and got."""
        self._pools = {pool.name: Pool(pool, charge_rejected=settings.charge_rejected) for pool in pools}
        self._by_key = {key: self._pools[pool.name] for pool in pools for key in pool.keys}
        self._any_key = next((self._pools[pool.name] for pool in pools if not pool.keys), None)
        self._revoked: set[str] = set()
        self._strangers: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._ids = random.Random(settings.seed)  # noqa: S311 - numbers of requests

    @property
    def peak(self) -> dict[str, int]:
        """Pool -> the most calls that it had at once."""
        return {name: pool.peak for name, pool in self._pools.items()}

    @property
    def accepted(self) -> Mapping[str, Accepted]:
        """Pool -> what it has let in."""
        return {name: pool.accepted for name, pool in self._pools.items()}

    def revoke(self, key: str) -> None:
        """From now on the key is refused as unknown."""
        self._revoked.add(key)

    def bench(self, pool: str, code: str) -> None:
        """From now on every call of the pool ends with the fault of that name, as one does whose money is gone.

        Raises:
            ValueError: there is no such pool, or the code is not that of a fault that comes before a call is let in.
        """
        if code not in FAULTS or FAULTS[code].stage is not Stage.BEFORE:
            raise ValueError(f"{code!r} does not keep a call out")
        self._pool(pool).benched = code

    def change_limit(
        self,
        pool: str,
        *,
        images_per_minute: float | Leave | None = LEAVE,
        tokens_per_minute: float | Leave | None = LEAVE,
        requests_per_minute: float | Leave | None = LEAVE,
        max_concurrency: int | Leave | None = LEAVE,
    ) -> None:
        """From now on other limits; None is none, and those left out stay. Call it under trio: the change has its time.

        Raises:
            ValueError: there is no such pool, or they are not limits that it can have.
        """
        limits = {
            "images_per_minute": images_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "requests_per_minute": requests_per_minute,
            "max_concurrency": max_concurrency,
        }
        given = {name: limit for name, limit in limits.items() if limit is not LEAVE}
        self._pool(pool).change(given, trio.current_time())

    async def stranger(self, pool: str, images_per_minute: float, *, tokens: int = 0, hold_s: float = 0.0) -> NoReturn:
        """Somebody else who draws on the limits of that pool until cancelled; counted in ``strangers`` and nowhere else.

        It asks for one image at a time, at intervals that differ by up to a fifth, and never repeats what was refused.

        Args:
            pool: the name of a pool.
            images_per_minute: how often it asks.
            tokens: of each call.
            hold_s: how long each call is under way, in seconds that are not scaled.

        Raises:
            ValueError: there is no such pool, or the numbers are none that a caller can have.
        """
        found = self._pool(pool)
        # Two strangers at one pool are to ask at different times.
        number = self._strangers[pool]
        self._strangers[pool] += 1
        dice = random.Random(f"{self.settings.seed}\0{pool}\0{number}")  # noqa: S311 - when somebody asks is no secret
        await ask_for_ever(found, self.strangers[pool], dice, images_per_minute=images_per_minute, tokens=tokens, hold_s=hold_s)

    def pool_of(self, key: str | None) -> Pool | None:
        """The organisation that the key belongs to; None where it is let in nowhere."""
        if not key or key in self._revoked or key in self.settings.admin_keys:
            return None
        return self._by_key.get(key, self._any_key)

    def is_admin(self, key: str | None) -> bool:
        """Whether the key may ask for the limits of projects."""
        return key in self.settings.admin_keys and key not in self._revoked

    def pool_of_project(self, project: str) -> Pool | None:
        """The pool that answers call the project of that name."""
        return next((pool for pool in self._pools.values() if pool.settings.project_name == project), None)

    def calls(self, prompt: str) -> int:
        """How often the prompt came through so far; calls that a limit refused do not count."""
        return self._calls[prompt]

    def called(self, prompt: str) -> None:
        """The prompt came through once more."""
        self._calls[prompt] += 1

    def next_id(self) -> int:
        """A number of 128 bits for one answer."""
        return self._ids.getrandbits(128)

    def dice(self, prompt: str) -> random.Random:
        """The randomness of this prompt's next call: the same whatever else arrives, and in whatever order."""
        text = f"{self.settings.seed}\0{self._calls[prompt]}\0{prompt}".encode("utf-8", "surrogatepass")
        # Nobody's safety hangs on a simulated latency.
        return random.Random(int.from_bytes(blake2b(text, digest_size=8).digest()))  # noqa: S311

    def _pool(self, name: str) -> Pool:
        if name not in self._pools:
            raise ValueError(f"there is no pool {name!r}; there are {', '.join(self._pools)}")
        return self._pools[name]
