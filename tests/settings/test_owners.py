from __future__ import annotations

import logging
from collections import Counter

import pytest

from headrace.errors import UsageError
from headrace.models import Limits
from headrace.owners import Owner, administered, real_owners, room, simulated_owners
from headrace.settings import KeySettings, PoolSettings, Settings

KEY = "sk-canary-0123456789"
ENVIRON = {"OPENAI_API_KEY": KEY, "A": "sk-a", "B": "sk-b", "C": "sk-c"}


def shape(owners: object) -> dict[str, list[str]]:
    return {owner.name: [key.name for key in owner.keys] for owner in owners}  # type: ignore[attr-defined]  # Owner


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": " \n"}])
def test_without_a_key_one_line_names_three_ways_on(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError) as raised:
        real_owners((), (), environ)
    text = str(raised.value)
    assert [way for way in ("OPENAI_API_KEY", "configuration file", "--simulate") if way not in text] == []
    assert len(text.splitlines()) == 1


def test_the_vendors_variable_alone_is_the_lowest_tier_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="headrace")
    (owner,) = real_owners((), (), ENVIRON)
    assert owner.limits == Limits(images_per_minute=5, tokens_per_minute=100_000)
    assert owner.keys[0].secret.reveal() == KEY
    assert "tier_assumed" in caplog.text
    assert KEY not in caplog.text + repr(owner)


def test_the_vendors_variable_draws_on_the_only_pool(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="headrace")
    (owner,) = real_owners((PoolSettings(name="studio", tier=3),), (), ENVIRON)
    assert (owner.name, owner.limits.images_per_minute) == ("studio", 50)
    assert not caplog.text


def test_which_of_several_pools_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="which key draws on which pool"):
        real_owners((PoolSettings(name="a"), PoolSettings(name="b")), (), ENVIRON)


def test_keys_of_one_pool_share_it_and_a_key_without_one_has_its_own() -> None:
    pools = (PoolSettings(name="studio", tier=1), PoolSettings(name="idle", tier=2))
    keys = (
        KeySettings(name="a", pool="studio", env="A", weight=2),
        KeySettings(name="b", pool="studio", env="B"),
        KeySettings(name="c", env="C"),
    )
    owners = real_owners(pools, keys, ENVIRON)
    assert shape(owners) == {"studio": ["a", "b"], "c": ["c"]}
    assert [key.weight for key in owners[0].keys] == [2, 1]
    assert owners[1].limits == Limits()


def test_a_key_that_cannot_be_found_is_named() -> None:
    with pytest.raises(UsageError, match="key b: the environment variable NONE is not set"):
        real_owners((), (KeySettings(name="a", env="A"), KeySettings(name="b", env="NONE")), ENVIRON)


def test_a_key_is_never_in_two_pools_even_where_it_is_named_as_one() -> None:
    # A [[key]] whose pool line was forgotten and that is named as a [[pool]]: refused, or in one of them.
    data = {"pool": [{"name": "studio", "tier": 1}], "key": [{"name": "studio", "env": "A"}]}
    try:
        settings = Settings.from_dict(data)
    except UsageError:
        return
    owners = real_owners(settings.pool, settings.key, ENVIRON)
    assert len({owner.name for owner in owners}) == len(owners)
    assert Counter(key.name for owner in owners for key in owner.keys) == {"studio": 1}


def test_the_simulator_needs_no_keys() -> None:
    assert len(simulated_owners((), ())) == 3
    pools, keys = (PoolSettings(name="studio", tier=3), PoolSettings(name="other")), (KeySettings(name="a", pool="studio", env="NONE"),)
    owners = simulated_owners(pools, keys)
    assert shape(owners) == {"studio": ["a"], "other": ["other"]}
    assert shape(simulated_owners((), (KeySettings(name="mine", env="NONE"),))) == {"mine": ["mine"]}


def test_simulated_keys_are_all_different_whatever_their_names() -> None:
    pools, keys = (PoolSettings(name="a"), PoolSettings(name="b")), (KeySettings(name="b", pool="a", env="NONE"),)
    owners = simulated_owners(pools, keys)
    secrets = [key.secret.reveal() for owner in owners for key in owner.keys]
    assert len(set(secrets)) == len(secrets) == 2


def test_an_owner_has_everything_that_its_pool_says() -> None:
    pool = PoolSettings(name="studio", models=("gpt-image-2*",), tier=3, exceed=True, project="proj_1", admin_env="C")
    (owner,) = real_owners((pool,), (KeySettings(name="a", pool="studio", env="A"),), ENVIRON)
    assert (owner.models, owner.exceed, owner.sources) == (("gpt-image-2*",), True, {"images": "tier 3", "tokens": "tier 3"})
    assert owner.administrator is not None
    assert (owner.administrator.project, owner.administrator.secret.reveal()) == ("proj_1", "sk-c")
    assert "sk-" not in repr(owner)


def test_one_key_draws_on_two_pools_under_two_names() -> None:
    pools = (PoolSettings(name="old", models=("gpt-image-1*",), tier=3), PoolSettings(name="new", models=("gpt-image-2*",), tier=3))
    keys = (KeySettings(name="a-old", pool="old", env="A"), KeySettings(name="a-new", pool="new", env="A"))
    assert shape(real_owners(pools, keys, ENVIRON)) == {"old": ["a-old"], "new": ["a-new"]}


def test_an_administrators_key_that_is_missing_is_named() -> None:
    pool = PoolSettings(name="studio", project="proj_1", admin_env="NONE")
    with pytest.raises(UsageError, match="the administrator's key of pool studio: the environment variable NONE is not set"):
        real_owners((pool,), (KeySettings(name="a", pool="studio", env="A"),), ENVIRON)


def test_the_simulator_asks_for_no_administrators_key() -> None:
    (owner,) = simulated_owners((PoolSettings(name="studio", project="proj_1", admin_env="NONE"),), ())
    assert owner.administrator is None


TOLD = Limits(images_per_minute=250, tokens_per_minute=1_000)


@pytest.mark.parametrize(
    ("named", "exceed", "holds", "source", "offered"),
    [
        (None, False, 250, "admin", {}),
        (300, False, 250, "admin", {}),
        (50, False, 50, "settings", {"images": 250}),
        (250, False, 250, "settings", {}),
        (50, True, 250, "admin", {}),
    ],
)
def test_of_a_named_limit_and_the_administrations_the_smaller_holds(
    named: float | None, exceed: bool, holds: float, source: str, offered: dict[str, float]
) -> None:
    named_by = {} if named is None else {"images": "settings"}
    owner = Owner(name="a", limits=Limits(images_per_minute=named, requests_per_minute=9), keys=(), exceed=exceed, sources=named_by)
    found = administered(owner, TOLD)
    assert (found.limits.images_per_minute, found.sources["images"], found.offered) == (holds, source, offered)
    assert (found.limits.tokens_per_minute, found.sources["tokens"]) == (1_000, "admin")
    assert found.limits.requests_per_minute == 9


@pytest.mark.parametrize(
    ("limits", "slots"),
    [
        ([], 8),
        ([Limits(max_concurrency=20)], 32),
        ([Limits(max_concurrency=20, images_per_minute=10)], 17),
        ([Limits(images_per_minute=250)], 377),  # 250 of 35 s are 146 calls at once
        ([Limits(requests_per_minute=100)], 152),
        ([Limits()], 1_538),
        ([Limits(images_per_minute=5_000)] * 3, 4_096),
    ],
)
def test_there_is_room_for_a_minute_of_every_rate(limits: list[Limits], slots: int) -> None:
    assert room(limits) == slots
