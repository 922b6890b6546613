from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from headrace.endpoints import ADMIN_S, Endpoint, endpoints_of, model_for, owners_of
from headrace.models import catalogue
from headrace.settings import Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.admission.books import Known

KEY, ADMIN = "sk-canary-0123456789", "sk-admin-canary-0123456789"
ENVIRON = {"KEY": KEY, "ADMIN": ADMIN}


def settings(*pools: dict[str, Any], **more: Any) -> Settings:
    keys = [{"name": pool["name"], "pool": pool["name"], "env": "KEY"} for pool in pools]
    return Settings.from_dict({"provider": {"base_url": "http://127.0.0.1:9/v1"}, "pool": list(pools), "key": keys} | more)


def asked(chosen: Settings, app: Any) -> tuple[Endpoint, dict[str, list[Known]], float]:
    """The endpoint with what the administration says, what its pools then know, and how long it took."""
    found: list[Any] = []

    async def main() -> None:
        started = trio.current_time()
        endpoint = await endpoints_of(chosen, ENVIRON)[0].with_admin_limits(app)
        found.extend((endpoint, {pool.name: list(pool.known()) for pool in endpoint.pools()}, trio.current_time() - started))

    trio.run(main, clock=MockClock(autojump_threshold=0))
    endpoint, known, lasted_s = found
    return endpoint, known, lasted_s


def app(*projects: str, **limits: Any) -> Any:
    pools = tuple(SimulatedPool(name=name, keys=(f"sk-{name}",), project=name, **limits) for name in projects)
    return make_app(World(SimulatorSettings(pools=pools, admin_keys=(ADMIN,))))


def pool(name: str = "studio", project: str = "proj_1", **fields: Any) -> dict[str, Any]:
    return {"name": name, "project": project, "admin_env": "ADMIN", **fields}


def test_the_limits_of_a_project_are_asked_for_with_the_administrators_key() -> None:
    endpoint, known, _ = asked(settings(pool(), pool("other", "proj_2")), app("proj_1", "proj_2", images_per_minute=250))
    assert [owner.limits.images_per_minute for owner in endpoint.owners] == [250, 250]
    assert [(each.resource, each.limit, each.source) for each in known["other"]] == [("images", 250, "admin")]


def test_what_the_settings_name_is_a_bound_and_what_is_offered_beyond_it_is_known() -> None:
    _, known, _ = asked(settings(pool(tier=3)), app("proj_1", images_per_minute=250, tokens_per_minute=9_000))
    found = {each.resource: (each.limit, each.source, each.offered) for each in known["studio"]}
    assert found == {"images": (50, "tier 3", 250), "tokens": (9_000, "admin", None)}


@pytest.mark.parametrize("wrong", [{"project": "proj_x"}, {"admin_env": "KEY"}])
def test_an_administration_that_does_not_tell_is_one_warning_without_a_key(wrong: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="headrace")
    endpoint, _, _ = asked(settings(pool(images_per_minute=40) | wrong), app("proj_1"))
    assert endpoint.owners[0].limits.images_per_minute == 40
    assert caplog.text.count("admin_limits_unknown") == len(caplog.records) == 1
    assert "canary" not in caplog.text


def test_an_administration_that_never_answers_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="headrace")

    async def silent(*_: object) -> None:
        await trio.sleep_forever()

    _, _, lasted_s = asked(settings(pool("one"), pool("two", "proj_2")), silent)
    assert lasted_s == ADMIN_S
    assert len(caplog.records) == 2


def test_without_an_administrators_key_nobody_is_asked() -> None:
    async def never(*_: object) -> None:
        raise AssertionError("it was asked")

    endpoint, _, lasted_s = asked(settings({"name": "studio", "tier": 3}), never)
    assert (endpoint.owners[0].limits.images_per_minute, lasted_s) == (50, 0)


def test_pools_are_for_the_models_of_the_settings_and_learn_where_those_say_so() -> None:
    chosen = settings({"name": "old", "models": ["gpt-image-1*"]}, {"name": "new", "models": ["gpt-image-2*"], "tier": 1, "exceed": True})

    async def main() -> None:
        old, new = endpoints_of(chosen, ENVIRON)[0].pools()
        assert [(each.serves("gpt-image-1.5"), each.serves("gpt-image-2")) for each in (old, new)] == [(True, False), (False, True)]
        assert new.meters.by_name["images"].learn(250, "header", trio.current_time())
        assert not new.meters.by_name["images"].firm

    trio.run(main)


@pytest.mark.parametrize(
    ("patterns", "model"),
    [
        ((), "gpt-image-2.5-flare"),
        (("gpt-image-*",), "gpt-image-2.5-flare"),
        (("gpt-image-1",), "gpt-image-1"),
        (("own-model",), "own-model"),
        (("own-*",), "own-*"),
    ],
)
def test_a_pool_is_asked_about_a_model_that_it_is_for(patterns: Sequence[str], model: str) -> None:
    assert "gpt-image-1" in catalogue().models
    assert model_for(patterns, "gpt-image-2.5-flare") == model


def test_the_alternative_has_owners_of_its_own() -> None:
    other = {"base_url": "https://example.com/v1", "model": "m", "pool": [pool("b")], "key": [{"name": "b", "pool": "b", "env": "KEY"}]}
    endpoints = endpoints_of(settings(pool("a"), fallback={"alternative": other}), ENVIRON)
    assert [owner.name for owner in owners_of(*endpoints)] == ["a", "b"]
    assert [endpoint.model for endpoint in endpoints if endpoint is not None] == [catalogue().default, "m"]
