"""The balancer and the retry loop of the article that headrace grew from, made to run: a client of ``peers.py``.

The key with the best (1 - usage) x weight x health takes a call. Usage is what a fixed minute, which begins with its first call, has
had of the limit; health loses a tenth with every refused or failed call and never comes back. A call that fails is tried six times: after
Retry-After x 1.2 where the answer has that, else after 1, 2, 4 s and so on up to 60, and it keeps its place while it waits. Where the
article leaves open what to do, this does what helps: a key that has all its calls at once under way is passed over, and when every minute
is used up a call waits for the first that ends. HTTP is aiohttp's, one session for all keys.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from peer_job import Job, Key, Lane, take_part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ATTEMPTS = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
CAUTION = 1.2
WINDOW_S = 60.0
HEALTH_KEPT = 0.9
OK = 200


class GivenUpError(Exception):
    """Six attempts, no picture."""


@dataclass
class _Account:
    key: Key
    weight: float = 1.0
    health: float = 1.0
    used: int = 0
    window_ends: float = 0.0
    in_flight: int = 0

    def score(self, now: float) -> float:
        if now >= self.window_ends:
            self.used = 0
        return (1 - self.used / self.key.per_minute) * self.weight * self.health

    def take(self, now: float) -> None:
        if now >= self.window_ends:
            self.used, self.window_ends = 0, now + WINDOW_S
        self.used += 1
        self.in_flight += 1


class _Balancer:
    def __init__(self, keys: tuple[Key, ...]) -> None:
        self._accounts = [_Account(key) for key in keys]

    async def take(self) -> _Account:
        """The best key, booked."""
        while True:
            now = time.monotonic()
            # There are as many places as all keys allow calls at once, so one of them has room.
            best = max((a for a in self._accounts if a.in_flight < a.key.at_once), key=lambda account: account.score(now))
            if best.score(now) > 0:
                best.take(now)
                return best
            await asyncio.sleep(max(0.0, min(account.window_ends for account in self._accounts) - now))


@asynccontextmanager
async def _lanes(job: Job) -> AsyncIterator[list[Lane]]:
    balancer = _Balancer(job.keys)
    async with aiohttp.ClientSession() as session:

        async def generate(prompt: str) -> str:
            account = await balancer.take()
            try:
                return await _patiently(session, job, account, prompt)
            finally:
                account.in_flight -= 1

        yield [Lane(generate, sum(key.at_once for key in job.keys))]


async def _patiently(session: aiohttp.ClientSession, job: Job, account: _Account, prompt: str) -> str:
    headers = {"Authorization": f"Bearer {account.key.secret}"}
    body: dict[str, Any] = {**job.request, "prompt": prompt}
    for attempt in range(ATTEMPTS):
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)
        try:
            async with session.post(f"{job.url}/images/generations", json=body, headers=headers) as answer:
                if answer.status == OK:
                    return str((await answer.json())["data"][0]["b64_json"])
                if "Retry-After" in answer.headers:
                    wait_s = float(answer.headers["Retry-After"]) * CAUTION
        except aiohttp.ClientError:
            pass  # tried again like a refusal
        account.health *= HEALTH_KEPT
        if attempt + 1 < ATTEMPTS:
            await asyncio.sleep(wait_s)
    raise GivenUpError


if __name__ == "__main__":
    take_part(_lanes)
