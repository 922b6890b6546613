from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from headrace.models import Limits
from headrace.provider.admin import rate_limits
from headrace.provider.client import Client
from headrace.records import Kind, Problem
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

ADMIN = "sk-admin-canary-0123456789"
PATH = "/v1/organization/projects/proj_1/rate_limits"
MODEL = "gpt-image-2.5-flare"


def entry(model: Any, images: Any = None, **more: Any) -> dict[str, Any]:
    limits = {"max_requests_per_1_minute": 0, "max_tokens_per_1_minute": 8_000_000, **more}
    limits |= {} if images is None else {"max_images_per_1_minute": images}
    return {"object": "project.rate_limit", "id": f"rl-{model}", "model": model, **limits}


def page(*entries: Any, more: Any = False, last: Any = None) -> dict[str, Any]:
    return {"object": "list", "data": list(entries), "first_id": None, "last_id": last, "has_more": more}


class Api:
    """Answers with one page after the other, and with the last one for ever."""

    def __init__(self, pages: Sequence[Any], status: int = 200) -> None:
        self._pages = pages
        self._status = status
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        assert (scope["method"], dict(scope["headers"])[b"authorization"]) == ("GET", f"Bearer {ADMIN}".encode())
        await receive()
        content = self._pages[min(len(self.asked), len(self._pages) - 1)]
        self.asked.append((scope["raw_path"].decode(), scope["query_string"].decode()))
        await send({"type": "http.response.start", "status": self._status, "headers": []})
        await send({"type": "http.response.body", "body": content if isinstance(content, bytes) else json.dumps(content).encode()})


def ask(api: Api, project: str = "proj_1", model: str = MODEL) -> Limits | Problem:
    async def main() -> Limits | Problem:
        client = Client(base_url="http://127.0.0.1/v1", secret=Secret(ADMIN), timeout_s=300, app=api)
        try:
            return await rate_limits(client, project, model)
        finally:
            with trio.CancelScope(shield=True):
                await client.aclose()

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def problem(outcome: Limits | Problem) -> Problem:
    assert isinstance(outcome, Problem)
    return outcome


def test_the_entry_of_the_model_gives_its_limits_and_nothing_that_it_leaves_out() -> None:
    api = Api([page(entry("gpt-5", max_requests_per_1_minute=5), entry(MODEL, 250), entry("gpt-image-2", 150))])
    assert ask(api) == Limits(images_per_minute=250, tokens_per_minute=8_000_000)
    assert api.asked == [(PATH, "")]


@pytest.mark.parametrize(
    ("listed", "model", "images"),
    [
        (["gpt-image-2.5-flare", "gpt-image-2.5"], "gpt-image-2.5-flare", 0),
        (["gpt-image", "gpt-image-2.5", "gpt-image-2.5-flare"], "gpt-image-2.5-flare-2026-09-08", 2),
        (["gpt-image", "gpt-image-2"], "gpt-image-2-2026-04-21", 1),
        (["gpt-image", "gpt-image-2"], "gpt-image-2.5-flare", 0),
    ],
)
def test_a_version_of_a_model_has_the_limits_of_the_nearest_name(listed: list[str], model: str, images: int) -> None:
    api = Api([page(*(entry(name, 10 + number) for number, name in enumerate(listed)))])
    limits = ask(api, model=model)
    assert isinstance(limits, Limits)
    assert limits.images_per_minute == 10 + images


@pytest.mark.parametrize("listed", [[], ["gpt-image-2"], ["gpt-image-2.5-flare-2026-09-08"], ["GPT-IMAGE-2.5-FLARE"], [""], [None], [7]])
def test_a_project_without_an_entry_for_the_model_says_so(listed: list[Any]) -> None:
    found = problem(ask(Api([page(*map(entry, listed))])))
    assert (found.kind, found.message) == (Kind.NOT_FOUND, "project proj_1 lists no limits for gpt-image-2.5-flare")


@pytest.mark.parametrize("number", [0, -1, None, "250", True, [], {}, 10**400, 1e300, float("nan"), float("inf")])
def test_what_is_no_number_above_nothing_is_no_limit(number: Any) -> None:
    listed = entry(MODEL, number, max_requests_per_1_minute=number, max_tokens_per_1_minute=1)
    assert ask(Api([page(listed)])) == Limits(tokens_per_minute=1)


def test_the_list_is_read_page_by_page() -> None:
    api = Api([page(entry("a"), more=True, last="rl a/1"), page(entry("b"), more=True, last="rl-b"), page(entry(MODEL, 5))])
    assert ask(api) == Limits(images_per_minute=5, tokens_per_minute=8_000_000)
    assert api.asked == [(PATH, ""), (PATH, "after=rl%20a%2F1"), (PATH, "after=rl-b")]


def test_a_list_without_an_end_is_not_read_for_ever() -> None:
    api = Api([page(entry(MODEL, 5), more=True, last="rl-a")])
    assert isinstance(ask(api), Limits)
    assert len(api.asked) == 20


@pytest.mark.parametrize("end", [page(entry("a"), more=True), page(entry("a"), more=True, last=7), page(more=True, last="rl-a")])
def test_a_page_that_does_not_say_how_to_go_on_is_the_last(end: Any) -> None:
    api = Api([end])
    problem(ask(api))
    assert len(api.asked) == 1


@pytest.mark.parametrize("content", [[], None, 7, "x", {}, {"data": None}, {"data": {}}])
def test_what_is_no_list_is_a_bad_answer(content: Any) -> None:
    assert problem(ask(Api([content]))).kind is Kind.BAD_ANSWER


@pytest.mark.parametrize("junk", [7, None, "x", []])
def test_entries_that_are_none_are_passed_over(junk: Any) -> None:
    assert ask(Api([page(junk, entry(MODEL, 5))])) == Limits(images_per_minute=5, tokens_per_minute=8_000_000)


@pytest.mark.parametrize(("status", "kind"), [(401, Kind.AUTH), (403, Kind.FORBIDDEN), (404, Kind.NOT_FOUND), (500, Kind.SERVER_ERROR)])
def test_an_api_that_does_not_tell_is_a_problem_without_the_key(status: int, kind: Kind) -> None:
    found = problem(ask(Api([{"error": {"message": f"not for {ADMIN}"}}], status)))
    assert (found.kind, found.status) == (kind, status)
    assert "canary" not in repr(found)


def test_a_problem_on_a_later_page_is_one() -> None:
    assert problem(ask(Api([page(entry(MODEL, 5), more=True, last="rl-a"), b"<html>"]))).kind is Kind.BAD_ANSWER


def test_the_name_of_a_project_cannot_lead_elsewhere() -> None:
    api = Api([page()])
    problem(ask(api, project="../x?a=b#c"))
    assert api.asked == [("/v1/organization/projects/..%2Fx%3Fa%3Db%23c/rate_limits", "")]
