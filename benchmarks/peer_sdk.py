"""The vendor's own SDK as a client of ``peers.py``: a client and a semaphore a key, six retries, with or without aiolimiter before it.

A semaphore a key and one queue of prompts: whichever key has a place takes the next prompt, which suits the SDK better than a fixed share
of the prompts for every key. It retries by its own rules, which honour Retry-After. ``burst`` is a limiter that is told the
limit as it stands (so many in 60 s), ``paced`` the form that its documentation gives for no bursts (one in 60 s / limit); a retry within
the SDK passes no limiter, for it offers no place to put one.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI
from peer_job import Job, Key, Lane, take_part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

RETRIES = 6


@asynccontextmanager
async def _lanes(job: Job) -> AsyncIterator[list[Lane]]:
    async with AsyncExitStack() as clients:
        yield [await _lane(job, key, clients) for key in job.keys]


async def _lane(job: Job, key: Key, clients: AsyncExitStack) -> Lane:
    client = await clients.enter_async_context(AsyncOpenAI(api_key=key.secret, base_url=job.url, max_retries=RETRIES))
    limiter = _limiter(job.how, key)

    async def generate(prompt: str) -> str:
        async with limiter:
            answer = await client.images.generate(prompt=prompt, **job.request)
        return str(answer.data[0].b64_json)

    return Lane(generate, key.at_once)


def _limiter(how: str, key: Key) -> AbstractAsyncContextManager[Any]:
    if how == "plain":
        return nullcontext()
    from aiolimiter import AsyncLimiter  # noqa: PLC0415 - the plain form goes without

    limiter: AbstractAsyncContextManager[None] = AsyncLimiter(*((key.per_minute, 60) if how == "burst" else (1, 60 / key.per_minute)))
    return limiter


if __name__ == "__main__":
    take_part(_lanes)
