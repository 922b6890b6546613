"""LiteLLM's Router as a client of ``peers.py``: a deployment a key, told its limits, six retries; the rest is its defaults.

The retries are given as a policy for refusals too, without which it gives a prompt up as soon as no deployment is left that is not
cooling down.

``how`` is its routing strategy: ``simple-shuffle``, which its documentation recommends, or ``usage-based-routing-v2``, which it has for
keeping to limits. As many prompts are under way as all keys allow calls at once: a deployment refuses what is more than its share, and
the router tries another. Prices come from the copy in the package, and nothing is told to anybody.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # read when it is imported

import litellm
from peer_job import Job, Key, Lane, take_part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RETRIES = 6
GROUP = "pictures"


@asynccontextmanager
async def _lanes(job: Job) -> AsyncIterator[list[Lane]]:
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    router = litellm.Router(
        model_list=[_deployment(job, key) for key in job.keys],
        routing_strategy=job.how,
        num_retries=RETRIES,
        retry_policy=litellm.RetryPolicy(RateLimitErrorRetries=RETRIES),
    )
    request = {name: value for name, value in job.request.items() if name != "model"}

    async def generate(prompt: str) -> str:
        answer = await router.aimage_generation(model=GROUP, prompt=prompt, **request)
        return str(answer.data[0].b64_json)

    yield [Lane(generate, sum(key.at_once for key in job.keys))]


def _deployment(job: Job, key: Key) -> dict[str, Any]:
    told: dict[str, Any] = {"rpm": key.per_minute}
    if key.at_once_is_limit:
        told["max_parallel_requests"] = key.at_once
    model = f"openai/{job.request['model']}"
    return {"model_name": GROUP, "litellm_params": {"model": model, "api_base": job.url, "api_key": key.secret, **told}}


if __name__ == "__main__":
    take_part(_lanes)
