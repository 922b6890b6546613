from __future__ import annotations

import logging
from collections import Counter

import pytest

from headrace.errors import UsageError
from headrace.models import Limits
from headrace.owners import real_owners, simulated_owners
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
