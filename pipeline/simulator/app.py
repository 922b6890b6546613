"""The API as an ASGI app: routes, keys, and what every answer carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route, Router

from headrace.models import catalogue
from headrace.simulator import azure
from headrace.simulator.admin import rate_limits_reply
from headrace.simulator.answers import vendor_headers
from headrace.simulator.deliver import deliver
from headrace.simulator.generate import generate, key_problem
from headrace.simulator.replies import Reply, error_reply, json_reply
from headrace.simulator.validate import parse, parse_edit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from headrace.simulator.pool import Pool
    from headrace.simulator.world import World


def make_app(world: World) -> ASGIApp:
    """The API of that world, to be called under trio; all its callers share the same limits and bill."""
    # A router and no Starlette application: its middleware would turn a broken connection into an answer.
    return Router(
        routes=[
            # Classes and instances get every method; each answers the wrong ones itself.
            Route("/v1/images/generations", _Pictures(world)),
            Route("/v1/images/edits", _Pictures(world, edits=True)),
            Route("/openai/deployments/{deployment}/images/generations", _Pictures(world, azure=True)),
            Route("/openai/deployments/{deployment}/images/edits", _Pictures(world, azure=True, edits=True)),
            Route("/openai/models", _Listing(world, _models, open_to_all=False, azure=True)),
            Route("/v1/organization/projects/{project}/rate_limits", _RateLimits(world)),
            Route("/v1/models", _Listing(world, _models, open_to_all=False)),
            Route("/_simulator/bill", _Listing(world, lambda: dict(world.bill), open_to_all=True)),
            Route("/_simulator/counts", _Listing(world, lambda: dict(world.counts), open_to_all=True)),
        ],
        default=_Nowhere(),
        redirect_slashes=False,
    )


@attrs.frozen
class _Pictures:
    world: World
    azure: bool = attrs.field(default=False, kw_only=True)
    """Whether it is asked in Azure's form, and answers in it."""
    edits: bool = attrs.field(default=False, kw_only=True)
    """Whether it is asked to edit pictures, in a form."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await _Nowhere()(scope, receive, send)
            return
        world = self.world
        start = trio.current_time()
        request = Request(scope, receive)
        try:
            raw = await request.body()
        except ClientDisconnect:
            return
        # In-process nothing else lets other tasks have their turn; here no place at the API is held meanwhile.
        await trio.lowlevel.checkpoint()

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        pool = world.pool_of(_key(scope, azures=self.azure))
        reply = await self._reply(scope, raw, pool, gone)
        took_s, number = trio.current_time() - start, world.next_id()
        extra = azure.headers(took_s, number) if self.azure else vendor_headers(pool, took_s, number)
        await deliver(attrs.evolve(reply, headers=(*reply.headers, *extra)), send, world.settings.time_scale)

    async def _reply(self, scope: Scope, raw: bytes, pool: Pool | None, gone: Callable[[], Awaitable[None]]) -> Reply:
        world = self.world
        if pool is None:
            world.counts["auth"] += 1
            return azure.key_refused() if self.azure else key_problem(_key(scope))
        version = model = None
        if self.azure:
            version = QueryParams(scope["query_string"]).get(azure.VERSION)
            if not version:
                return azure.no_version()
            deployment = scope["path_params"]["deployment"]
            model = world.settings.deployments.get(deployment, deployment)
            if not catalogue().model(model).known:
                return azure.no_deployment()
        call = parse_edit(raw, Headers(scope=scope).get("content-type", ""), model) if self.edits else parse(raw, model)
        if isinstance(call, Reply):
            world.counts["bad_request"] += 1
            return call
        return await generate(world, pool, call, gone, version)


@attrs.frozen
class _Listing:
    world: World
    value: Callable[[], Any]
    open_to_all: bool = attrs.field(kw_only=True)
    azure: bool = attrs.field(default=False, kw_only=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope, azures=self.azure)
        if scope["method"] != "GET":
            await _Nowhere()(scope, receive, send)
        elif self.open_to_all or self.world.pool_of(key):
            await deliver(json_reply(200, self.value()), send, 0)
        else:
            await deliver(azure.key_refused() if self.azure else key_problem(key), send, 0)


@attrs.frozen
class _RateLimits:
    world: World

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await _Nowhere()(scope, receive, send)
            return
        query = QueryParams(scope["query_string"])
        await deliver(rate_limits_reply(self.world, _key(scope), scope["path_params"]["project"], query), send, 0)


@attrs.frozen
class _Nowhere:
    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await deliver(error_reply(404, f"Invalid URL ({scope['method']} {scope['path']})"), send, 0)


def _key(scope: Scope, *, azures: bool = False) -> str | None:
    if azures:
        return Headers(scope=scope).get("api-key")
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _models() -> dict[str, Any]:
    listed = []
    for model in catalogue().models.values():
        entry: dict[str, Any] = {"id": model.name, "object": "model", "created": 0, "owned_by": "simulator"}
        if model.shutdown:
            entry["shutdown_date"] = model.shutdown.isoformat()
        listed.append(entry)
    return {"object": "list", "data": listed}
