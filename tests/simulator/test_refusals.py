from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.simulator import SimulatedPool, SimulatorSettings
from headrace.simulator.answers import vendor_headers
from headrace.simulator.limits import refusal_reply
from headrace.simulator.pool import Pool, Refusal

POOLS = st.builds(
    SimulatedPool,
    images_per_minute=st.none() | st.integers(1, 200),
    requests_per_minute=st.none() | st.integers(1, 200),
    tokens_per_minute=st.none() | st.integers(400, 50_000),
    max_concurrency=st.none(),
    discipline=st.sampled_from(["continuous", "sliding", "counter", "fixed"]),
    burst_s=st.sampled_from([1.0, 3.0, 60.0]),
    window_s=st.sampled_from([1.0, 10.0, 60.0]),
)
CALLS = st.lists(st.tuples(st.floats(0, 20, allow_nan=False), st.integers(1, 3)), min_size=1, max_size=60)
FIVE = SimulatedPool(images_per_minute=5, max_concurrency=None)


def over(pool: SimulatedPool, images: int = 1) -> Refusal:
    """What a call is told that comes when everything is used."""
    busy = Pool(pool, charge_rejected=True)
    for _ in range(1_000):
        refusal = busy.admit(images, 100, 5.0)
        if refusal:
            return refusal
    raise AssertionError("nothing was refused")


def answer(pool: SimulatedPool, style: Any, images: int = 1) -> tuple[dict[str, Any], dict[str, str]]:
    reply = refusal_reply(over(pool, images), model="gpt-image-2", settings=pool, style=style)
    assert reply.status == 429
    return json.loads(reply.joined())["error"], dict(reply.headers)


@given(POOLS, CALLS, st.booleans())
def test_whoever_waits_as_long_as_told_is_let_in(settings: SimulatedPool, calls: list[tuple[float, int]], charge_rejected: bool) -> None:
    pool = Pool(settings, charge_rejected=charge_rejected)
    now = 0.0
    for gap, images in calls:
        now += gap
        refusal = pool.admit(images, 196 * images, now)
        if refusal and math.isfinite(refusal.wait_s):
            now += refusal.wait_s
            assert pool.admit(images, 196 * images, now) is None


@given(POOLS, CALLS, st.booleans())
def test_what_a_refusal_quotes_adds_up(settings: SimulatedPool, calls: list[tuple[float, int]], charge_rejected: bool) -> None:
    pool = Pool(settings, charge_rejected=charge_rejected)
    limits = {"input-images": settings.images_per_minute, "requests": settings.requests_per_minute, "tokens": settings.tokens_per_minute}
    now = 0.0
    for gap, images in calls:
        now += gap
        refusal = pool.admit(images, 196 * images, now)
        if refusal:
            assert refusal.limit == limits[str(refusal.dimension)]
            assert refusal.used <= refusal.limit < refusal.used + refusal.requested


def test_a_hint_says_how_long_to_wait_and_neither_how_much_there_is_nor_of_what() -> None:
    error, headers = answer(FIVE, "hint")
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
    assert not re.search(r"\d|image|token", error["message"])
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("12", "12000")


def test_a_hint_says_that_it_is_of_no_use_to_wait() -> None:
    error, headers = answer(FIVE, "hint", images=10)
    assert not re.search(r"\d", error["message"])
    assert headers["x-should-retry"] == "false"
    assert "retry-after-ms" not in headers


def test_all_bare_refusals_are_alike_and_say_nothing() -> None:
    pools = (
        FIVE,
        SimulatedPool(images_per_minute=None, tokens_per_minute=1_000, max_concurrency=None),
        SimulatedPool(max_concurrency=1),
    )
    answers = [answer(pool, "bare", images) for pool, images in zip((*pools, pools[0]), (1, 1, 1, 10), strict=True)]
    assert all(each == answers[0] for each in answers)
    error, headers = answers[0]
    assert error["code"] == "rate_limit_exceeded"
    assert not re.search(r"\d", error["message"])
    assert set(headers) == {"content-type"}


@pytest.mark.parametrize("style", ["full", "hint"])
def test_too_many_calls_at_once_are_told_to_slow_down_without_a_time(style: str) -> None:
    error, headers = answer(SimulatedPool(max_concurrency=1), style)
    assert error["code"] == "slow_down"
    assert set(headers) == {"content-type"}


def test_an_organisation_and_a_project_with_names_of_their_own_are_called_so_everywhere() -> None:
    pool = SimulatedPool(name="two keys", organisation="org-hidden", project="proj_pictures", images_per_minute=5, max_concurrency=None)
    error, _ = answer(pool, "full")
    assert "in project proj_pictures in organization org-hidden on input-images per min: Limit 5, Used 5, Requested 1." in error["message"]
    headers = dict(vendor_headers(Pool(pool, charge_rejected=True), 0.0, 1))
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-hidden", "proj_pictures")


def test_without_names_of_their_own_both_are_called_after_the_pool() -> None:
    error, _ = answer(FIVE, "full")
    assert "(for limit gpt-image) in organization org-studio on" in error["message"]
    headers = dict(vendor_headers(Pool(SimulatedPool(), charge_rejected=True), 0.0, 1))
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-studio", "proj_studio")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window_s": 0.0}, "window_s is 0.0"),
        ({"window_s": 61.0}, "window_s is 61.0"),
        ({"window_s": math.nan}, "window_s is nan"),
        ({"burst_s": math.nan}, "burst_s is nan"),
        ({"images_per_minute": math.inf}, "images_per_minute is inf"),
        ({"tokens_per_minute": -1.0}, "tokens_per_minute is -1.0"),
        ({"discipline": "leaky"}, "discipline"),
        ({"organisation": "org-a\r\nx: y"}, "organisation"),
        ({"project": ""}, "project"),
    ],
)
def test_pools_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulatedPool(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"refusals": "silent"}, "refusals"),
        ({"pools": (SimulatedPool(keys=("sk-1",)),), "admin_keys": ("sk-1",)}, "both a pool's and an admin's"),
        ({"pools": (SimulatedPool(name="a"), SimulatedPool(name="b", keys=(), project="proj_a"))}, "two pools have the same project"),
    ],
)
def test_worlds_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        SimulatorSettings(**fields)
    assert "sk-1" not in str(raised.value)


def test_no_key_is_in_what_settings_print() -> None:
    settings = SimulatorSettings(pools=(SimulatedPool(keys=("sk-pool-1",)),), admin_keys=("sk-admin-1",))
    assert "sk-" not in repr(settings) + repr(settings.pools)
