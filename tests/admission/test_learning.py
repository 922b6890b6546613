"""The gate in front of a simulated server whose limits it is told wrongly, or not at all."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from plant import Plant, client_pool

from headrace.simulator import SimulatedPool, SimulatorSettings
from headrace.told import CALLS, IMAGES

if TYPE_CHECKING:
    from plant import Seen

    from headrace.admission.books import Known
    from headrace.admission.pool import Pool
    from headrace.simulator import World

LIMIT = 120.0
SERVER = SimulatedPool(name="a", keys=("a",), images_per_minute=LIMIT, max_concurrency=None)


def run(client: Pool, seconds: float, *beside: Any, refusals: Any = "full", headers: bool = False, **server: Any) -> Seen:
    """What becomes of a client that always has work, at a server with 120 images a minute unless it is said otherwise."""
    simulated = attrs.evolve(SERVER, **server)
    settings = SimulatorSettings(refusals=refusals, limit_headers=headers)
    return Plant(servers=[simulated], clients=[client], settings=settings).run(seconds, *beside)


def share(seen: Seen, start: float, end: float, limit: float = LIMIT) -> float:
    return seen.images_between(start, end) / (limit * (end - start) / 60)


def known(seen: Seen, resource: str = IMAGES) -> Known:
    return next(each for each in seen.books[0].known if each.resource == resource)


async def later(world: World, seconds: float, **limits: Any) -> None:
    await trio.sleep(seconds)
    world.change_limit("a", **limits)


def test_what_is_told_right_is_used_nearly_to_the_full_without_a_refusal() -> None:
    seen = run(client_pool("a", images_per_minute=LIMIT), 300.0)
    assert share(seen, 60.0, 300.0) >= 0.98
    assert not seen.refused
    assert known(seen).scale == 1.0


def test_twenty_per_cent_too_high_is_put_right_by_the_first_refusal_that_says_so() -> None:
    seen = run(client_pool("a", images_per_minute=1.2 * LIMIT), 600.0)
    assert (known(seen).limit, known(seen).source) == (LIMIT, "refusal")
    assert share(seen, 60.0, 600.0) >= 0.95
    assert seen.refused_between(60.0, 600.0) <= 0.02


def test_twenty_per_cent_too_high_is_put_right_by_headers() -> None:
    seen = run(client_pool("a", images_per_minute=1.2 * LIMIT), 600.0, headers=True)
    assert (known(seen).limit, known(seen).source) == (LIMIT, "header")
    assert share(seen, 60.0, 600.0) >= 0.95
    assert seen.refused_between(60.0, 600.0) <= 0.02


def test_told_nothing_headers_that_tell_all_cost_no_burst_of_refusals() -> None:
    seen = run(client_pool("a"), 120.0, headers=True)
    assert (known(seen).limit, known(seen).source) == (LIMIT, "header")
    assert len(seen.refused) <= 10


@pytest.mark.parametrize("refusals", ["hint", "bare"])
def test_twenty_per_cent_too_high_is_felt_out_where_refusals_say_nothing(refusals: str) -> None:
    seen = run(client_pool("a", images_per_minute=1.2 * LIMIT), 900.0, refusals=refusals)
    assert share(seen, 120.0, 900.0) >= 0.85
    assert seen.refused_between(120.0, 900.0) <= 0.03


def test_told_nothing_the_limit_is_learnt_from_the_first_refusal() -> None:
    seen = run(client_pool("a"), 300.0)
    assert (known(seen).limit, known(seen).source) == (LIMIT, "refusal")
    assert share(seen, 60.0, 300.0) >= 0.95


def test_told_nothing_by_anybody_the_rate_is_felt_out() -> None:
    seen = run(client_pool("a"), 900.0, refusals="bare")
    assert known(seen).source == "guess"
    assert share(seen, 300.0, 900.0) >= 0.8
    assert seen.refused_between(300.0, 900.0) <= 0.05


def test_told_nothing_where_there_is_no_limit_the_calls_at_once_grow() -> None:
    seen = run(client_pool("a"), 60.0, images_per_minute=None)
    assert max(out for _, out in seen.in_flight) >= 64
    assert not seen.refused


def test_half_of_a_limit_is_gone_from_one_moment_to_the_next_and_that_is_followed() -> None:
    cut = partial(later, seconds=180.0, images_per_minute=LIMIT / 2)
    seen = run(client_pool("a", images_per_minute=LIMIT), 600.0, cut)
    assert known(seen).limit == LIMIT / 2
    assert share(seen, 60.0, 180.0) >= 0.97
    assert share(seen, 240.0, 600.0, LIMIT / 2) >= 0.9
    assert seen.refused_between(240.0, 600.0) <= 0.02


def test_a_limit_that_is_larger_than_the_settings_allow_is_named_and_not_used() -> None:
    seen = run(client_pool("a", images_per_minute=60), 300.0, headers=True)
    assert (known(seen).limit, known(seen).offered) == (60, LIMIT)
    assert max(seen.images_between(at, at + 60) for at, _, _ in seen.sent) <= 61


def test_a_start_that_is_half_of_what_there_is_grows_to_it_where_it_may_be_exceeded() -> None:
    seen = run(client_pool("a", images_per_minute=LIMIT / 2, exceed=True), 900.0)
    assert known(seen).limit == LIMIT
    assert share(seen, 600.0, 900.0) >= 0.95


def test_calls_at_once_that_nobody_named_are_found_and_used() -> None:
    seen = run(client_pool("a"), 300.0, images_per_minute=None, max_concurrency=10)
    assert known(seen, CALLS).limit in (9, 10, 11)
    # Ten calls of 10.6 s on average.
    assert seen.images_between(60.0, 300.0) >= 0.9 * 10 * 240 / 10.63
    assert seen.refused_between(60.0, 300.0) <= 0.03


def test_two_keys_of_one_organisation_in_two_pools_use_its_limit_once() -> None:
    server = attrs.evolve(SERVER, keys=("a", "b"))
    clients = [client_pool(name, images_per_minute=LIMIT) for name in ("a", "b")]
    seen = Plant(servers=[server], clients=clients).run(300.0)
    (books,) = seen.books
    assert sorted(books.keys) == ["a", "b"]
    assert share(seen, 60.0, 300.0) >= 0.9
    assert seen.refused_between(60.0, 300.0) <= 0.01
