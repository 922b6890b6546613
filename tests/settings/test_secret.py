from __future__ import annotations

import copy
import json
import pickle
from functools import partial
from typing import TYPE_CHECKING

import attrs
import pytest

from headrace.owners import KeyOwner
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-canary-0123456789"


def test_no_rendering_shows_the_key() -> None:
    secret = Secret(KEY)
    owner = KeyOwner(name="a", weight=1.0, secret=secret)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>30}", f"{secret:>30}", "%s %r" % (secret, secret), f"{[secret]} {owner}"]  # noqa: UP031 - it is a way to render
    shown += ["{}".format(secret), json.dumps(attrs.asdict(owner), default=str), str(getattr(secret, "__dict__", ""))]  # noqa: UP032 - so is this
    assert not [text for text in shown if "canary" in text]
    assert secret.reveal() == KEY


def test_it_does_not_travel() -> None:
    ways: list[Callable[[Secret], object]] = [copy.copy, copy.deepcopy, *(partial(pickle.dumps, protocol=number) for number in range(6))]
    for way in ways:
        with pytest.raises(TypeError) as raised:
            way(Secret(KEY))
        assert "canary" not in str(raised.value)


def test_it_is_equal_to_itself_alone_and_no_dictionary_key() -> None:
    secret = Secret(KEY)
    assert secret == secret  # noqa: PLR0124 - identity is the point
    assert secret != Secret(KEY)
    assert secret != KEY
    with pytest.raises(TypeError, match="unhashable"):
        hash(secret)
    with pytest.raises(TypeError):
        secret < Secret(KEY)  # type: ignore[operator]  # noqa: B015 - that it cannot be ordered is the point
