from __future__ import annotations

import attrs
from headline import LOOP, REPEATS, Setting, made_up, measured
from reliability.simulation import chance

from headrace.cache.canonical import canonical

SMALL = attrs.evolve(LOOP, prompts=40)


def test_headrace_gets_every_picture_where_a_naive_loop_loses_some_and_a_cache_makes_them_cheaper() -> None:
    settings = SMALL, attrs.evolve(SMALL, naive=False, at_once=None), Setting(name="cache", tier=2, prompts=40, cache=True)
    naive, headrace, cached = (measured(setting, 2.3, 1) for setting in settings)
    assert naive.success < headrace.success == cached.success == 1
    assert naive.calls == 40
    assert headrace.calls > 40 > cached.calls
    assert cached.usd < headrace.usd
    assert naive.refused == headrace.refused == cached.refused == 0


def test_a_naive_client_at_once_is_refused_under_a_limit_that_headrace_keeps() -> None:
    naive, headrace = (
        measured(attrs.evolve(SMALL, prompts=90, at_once=at_once, naive=at_once is not None), 2.3, 1) for at_once in (5, None)
    )
    assert naive.refused > 0 == headrace.refused


def test_three_prompts_in_ten_ask_for_an_earlier_picture() -> None:
    prompts = made_up(100, chance(3, "prompts"))
    assert len({canonical(prompt) for prompt in prompts}) == 100 - 100 * REPEATS
    assert len(set(prompts)) > 100 - 100 * REPEATS
