"""The state of a simulated API: its organisations, the bill, and what happened so far."""

from __future__ import annotations

import random
from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING

import trio

from headrace.simulator.faults import FAULTS, Stage
from headrace.simulator.pool import Accepted, Pool
from headrace.simulator.settings import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.simulator.settings import SimulatorSettings


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
        self._pools = {pool.name: Pool(pool, charge_rejected=settings.charge_rejected) for pool in pools}
        self._by_key = {key: self._pools[pool.name] for pool in pools for key in pool.keys}
        self._any_key = next((self._pools[pool.name] for pool in pools if not pool.keys), None)
        self._revoked: set[str] = set()
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

    def change_limit(self, pool: str, *, images_per_minute: float | None) -> None:
        """From now on another limit; None is none. Call it under trio: the change has its time.

        Raises:
            ValueError: there is no such pool.
        """
        self._pool(pool).change_images(images_per_minute, trio.current_time())

    def pool_of(self, key: str | None) -> Pool | None:
        """The organisation that the key belongs to; None where it is let in nowhere."""
        if not key or key in self._revoked:
            return None
        return self._by_key.get(key, self._any_key)

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
