from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from headrace.models import catalogue
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

ADMIN = "sk-admin-0123456789abcdef"
POOLS = (
    SimulatedPool(name="one", keys=("sk-one-0123456789abcdef",), images_per_minute=5.0, tokens_per_minute=100_000.0),
    SimulatedPool(name="two", keys=("sk-two-0123456789abcdef",), images_per_minute=None, requests_per_minute=90.5, project="proj_pictures"),
)


def get(*queries: str, project: str = "proj_one", key: str | None = ADMIN, world: World | None = None) -> list[httpx.Response]:
    """What the API answers to these queries, one after the other."""

    async def main() -> list[httpx.Response]:
        app = make_app(world or World(SimulatorSettings(pools=POOLS, admin_keys=(ADMIN,))))
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://simulator", headers=headers) as http:
            return [await http.get(f"/v1/organization/projects/{project}/rate_limits{query}") for query in queries]

    return trio.run(main)


def entry(model: str, answer: httpx.Response) -> dict[str, Any]:
    return next(each for each in answer.json()["data"] if each["model"] == model)


def test_the_limits_of_a_project_are_listed_model_by_model() -> None:
    (answer,) = get("")
    body = answer.json()
    assert answer.status_code == 200
    assert (body["object"], body["has_more"]) == ("list", False)
    assert [each["model"] for each in body["data"]] == list(catalogue().models)
    assert (body["first_id"], body["last_id"]) == (body["data"][0]["id"], body["data"][-1]["id"])
    assert entry("gpt-image-2", answer) == {
        "object": "project.rate_limit",
        "id": "rl-gpt-image-2",
        "model": "gpt-image-2",
        "max_tokens_per_1_minute": 100_000,
        "max_images_per_1_minute": 5,
    }


def test_a_project_has_the_name_that_it_was_given_and_whole_numbers() -> None:
    found = entry("gpt-image-2", get("", project="proj_pictures")[0])
    assert found["max_requests_per_1_minute"] == 91
    assert "max_images_per_1_minute" not in found
    assert get("", project="proj_two")[0].status_code == 404


def test_a_changed_limit_is_listed() -> None:
    world = World(SimulatorSettings(pools=POOLS, admin_keys=(ADMIN,)))

    async def change() -> None:
        world.change_limit("one", images_per_minute=250)

    trio.run(change)
    assert entry("gpt-image-2", get("", world=world)[0])["max_images_per_1_minute"] == 250


@pytest.mark.parametrize("size", [1, 2, 100])
def test_pages_follow_each_other_without_a_gap(size: int) -> None:
    names: list[str] = []
    query = f"?limit={size}"
    for _ in range(20):
        body = get(query)[0].json()
        assert len(body["data"]) <= size
        names += (each["model"] for each in body["data"])
        if not body["has_more"]:
            break
        query = f"?limit={size}&after={body['last_id']}"
    assert names == list(catalogue().models)


def test_there_is_nothing_after_the_last_entry() -> None:
    last = get("")[0].json()["last_id"]
    body = get(f"?after={last}")[0].json()
    assert (body["data"], body["first_id"], body["last_id"], body["has_more"]) == ([], None, None, False)


@pytest.mark.parametrize(
    "query", ["?limit=0", "?limit=101", "?limit=ten", "?limit=-1", "?limit=", f"?limit={'9' * 5_000}", "?after=rl-none"]
)
def test_a_page_that_cannot_be_is_refused(query: str) -> None:
    (answer,) = get(query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


@pytest.mark.parametrize(
    ("key", "status"),
    [(None, 401), ("sk-nobody-0123456789abcdef", 401), ("sk-one-0123456789abcdef", 403), ("sk-two-0123456789abcdef", 403)],
)
def test_only_an_admin_key_is_told(key: str | None, status: int) -> None:
    (answer,) = get("", key=key)
    assert answer.status_code == status
    assert (key or "sk-one") not in answer.text


def test_an_admin_key_makes_no_pictures_and_can_be_revoked() -> None:
    world = World(SimulatorSettings(admin_keys=(ADMIN,)))
    assert world.pool_of("sk-anything") is not None
    assert world.pool_of(ADMIN) is None
    assert get("", project="proj_unlimited", world=world)[0].status_code == 200
    world.revoke(ADMIN)
    assert get("", project="proj_unlimited", world=world)[0].status_code == 401
