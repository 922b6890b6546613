from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.admission.books import PoolStatistics
from headrace.errors import UsageError
from headrace.models import Limits
from headrace.observe.alerts import FEWEST, RULES, Alerts, Change
from headrace.observe.watcher import Snapshot
from headrace.records import Call, Kind, Problem, Prompt, Request, Result, Status
from headrace.settings import AlertSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
PROMPT = Prompt(seq=0, id="0", request=REQUEST)


def pool(name: str = "studio", state: str = "ready") -> PoolStatistics:
    return PoolStatistics(
        name=name,
        limits=Limits(),
        keys=(),
        admitted={},
        in_flight=0,
        busy_s=0,
        calls=0,
        refused=0,
        first_at=None,
        last_at=None,
        state=state,
    )


def standing(*pools: PoolStatistics, in_flight: int = 0, spent: float = 0.0, most: float | None = None) -> Snapshot:
    return Snapshot(pools=pools, depths={}, in_flight=in_flight, max_in_flight=10, spent_usd=spent, max_cost_usd=most)


def call(kind: Kind | None = None, latency_s: float = 1.0) -> Call:
    problem = None if kind is None else Problem(kind=kind, message="no")
    return Call(
        prompt=PROMPT,
        request=REQUEST,
        pool="studio",
        key="a",
        waited_s=0,
        waited_for=None,
        started=0.0,
        ended=latency_s,
        problem=problem,
    )


def result(status: Status = Status.OK, **more: Any) -> Result:
    return Result(seq=0, id="0", prompt="a fox", status=status, **more)


def told(changes: Sequence[Change]) -> list[tuple[str, str]]:
    return [(change.alert.rule, "on" if change.on else "off") for change in changes]


def test_prompts_that_fail_are_told_of_once_and_once_more_when_it_is_over() -> None:
    alerts, seen = Alerts(AlertSettings(), 0.0), []
    for now in range(1000):
        alerts.ended(result(Status.FAILED if now < 100 and now % 4 == 0 else Status.OK), now)
        seen += [(now, *each) for each in told(alerts.look(now, standing(in_flight=1)))]
    assert [each[1:] for each in seen] == [("error_rate", "on"), ("error_rate", "off")]
    assert seen[0][0] == FEWEST - 1
    # 25 of the first 300 failed; when the first of them are forgotten it is less than 0.8 x 10 %, and stays there for a window.
    assert seen[1][0] == 300 + 299


def test_few_prompts_say_nothing() -> None:
    alerts = Alerts(AlertSettings(), 0.0)
    for now in range(FEWEST - 1):
        alerts.ended(result(Status.FAILED), now)
        assert alerts.look(now, standing()) == []


def test_what_another_run_finished_or_what_was_skipped_is_no_failure_of_this_one() -> None:
    alerts = Alerts(AlertSettings(), 0.0)
    for now in range(100):
        alerts.ended(result(Status.FAILED, recalled=True), now)
        alerts.ended(result(Status.SKIPPED), now)
        assert alerts.look(now, standing()) == []


def test_a_value_that_wanders_about_its_threshold_is_one_alert() -> None:
    alerts, seen = Alerts(AlertSettings(window_s=60.0), 0.0), []
    for now in range(600):
        # Between 8.5 % and 11.5 % of the calls of a minute are refused.
        share = 0.115 if now // 60 % 2 else 0.085
        refused = int((now + 1) * 100 * share) - int(now * 100 * share)
        for n in range(100):
            alerts.ended(result(Status.FAILED if n < refused else Status.OK), now)
        seen += told(alerts.look(now, standing(in_flight=1)))
    assert seen == [("error_rate", "on")]


@pytest.mark.parametrize(("a_minute", "seed"), [(12, 1), (12, 2), (60, 1)])
def test_a_steady_rate_near_the_threshold_is_no_flood_at_the_pace_of_small_tiers(a_minute: int, seed: int) -> None:
    alerts, seen, chance = Alerts(AlertSettings(), 0.0), [], random.Random(seed)
    for n in range(6 * 60 * a_minute):
        now = n * 60.0 / a_minute
        alerts.ended(result(Status.OK if chance.random() >= 0.1 else Status.FAILED), now)
        if int(now) % 5 == 0:
            seen += told(alerts.look(now, standing(in_flight=1)))
    assert 1 <= len(seen) <= 3


def test_an_alert_that_comes_back_within_an_hour_is_told_of_at_once_and_is_over_after_an_hour_below() -> None:
    # Three times every prompt fails for a while: the second time within an hour of the first one's end, the third long after.
    outages = (range(4000), range(5000, 5180), range(13_000, 13_180))
    alerts, seen = Alerts(AlertSettings(), 0.0), []
    for now in range(14_000):
        alerts.ended(result(Status.FAILED if any(now in outage for outage in outages) else Status.OK), now)
        seen += [(state, now) for _, state in told(alerts.look(now, standing(in_flight=1)))]
    # The last 300 hold fewer than 24 that failed from then on.
    below = 300 - 24
    ends = [4000 + below + 300, 5180 + below + 3600, 13_180 + below + 300]
    assert [now for state, now in seen if state == "on"] == [FEWEST - 1, 5029, 13_029]
    assert [now for state, now in seen if state == "off"] == [pytest.approx(end, abs=6) for end in ends]


@pytest.mark.parametrize("rule", ["error_rate", "rate_limited_ratio"])
def test_a_threshold_of_all_is_reached_by_all(rule: str) -> None:
    alerts = Alerts(AlertSettings(**{rule: 1.0}), 0.0)  # type: ignore[arg-type]  # a threshold
    for _ in range(FEWEST):
        alerts.ended(result(Status.FAILED), 1.0)
        alerts.called(call(Kind.RATE_LIMITED), 1.0)
    assert (rule, "on") in told(alerts.look(1.0, standing()))


@pytest.mark.parametrize("name", ["error_rate", "rate_limited_ratio", "budget_share"])
def test_a_threshold_that_is_always_reached_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"alerts: {name} is 0.*from 0\.001 to 1"):
        Settings.from_dict({"alerts": {name: 0}})


@pytest.mark.parametrize(("preset", "rules"), [("default", []), ("article", ["mean_latency"])])
def test_the_articles_latency_is_five_seconds_and_ours_is_two_minutes(preset: str, rules: list[str]) -> None:
    alerts = Alerts(AlertSettings(preset=preset), 0.0)
    for _ in range(FEWEST):
        alerts.called(call(latency_s=6.0), 1.0)
        alerts.called(call(Kind.SERVER_ERROR, latency_s=300.0), 1.0)  # not a picture
    assert [change.alert.rule for change in alerts.look(1.0, standing())] == rules


def test_a_threshold_that_is_named_wins_over_the_presets() -> None:
    settings = Settings.from_dict({"alerts": {"preset": "article", "error_rate": 0.5}}).alerts
    assert [settings.threshold(name) for name in ("error_rate", "mean_latency_s", "rate_limited_ratio")] == [0.5, 5.0, 0.2]


@pytest.mark.parametrize(
    ("kind", "rules"), [(Kind.RATE_LIMITED, ["rate_limited_ratio"]), (Kind.SLOW_DOWN, ["rate_limited_ratio"]), (Kind.BILLING, [])]
)
def test_calls_that_are_refused_for_their_pace_are_told_of(kind: Kind, rules: list[str]) -> None:
    alerts = Alerts(AlertSettings(), 0.0)
    for n in range(40):
        alerts.called(call(kind if n % 4 == 0 else None), 1.0)
    changes = alerts.look(1.0, standing())
    assert [change.alert.rule for change in changes] == rules
    assert [change.alert.text for change in changes] == ["25% of 40 calls were refused (threshold 20%)"][: len(rules)]


def test_a_window_without_anything_is_no_sign_that_it_got_better() -> None:
    alerts = Alerts(AlertSettings(window_s=60.0), 0.0)
    for _ in range(FEWEST):
        alerts.ended(result(Status.FAILED), 0.0)
    assert told(alerts.look(0.0, standing(in_flight=1))) == [("error_rate", "on")]
    assert told(alerts.look(120.0, standing(in_flight=1))) == []
    assert [alert.text for alert in alerts.active] == ["100% of 20 prompts failed (threshold 10%)"]
    for now in range(121, 180):
        alerts.ended(result(), now)
        assert told(alerts.look(now, standing(in_flight=1))) == []
    assert told(alerts.look(180.0, standing(in_flight=1))) == [("error_rate", "off")]


def test_the_budget_is_told_of_at_four_fifths() -> None:
    alerts = Alerts(AlertSettings(), 0.0)
    assert alerts.look(1.0, standing(spent=7.99, most=10.0)) == []
    (change,) = alerts.look(2.0, standing(spent=8.0, most=10.0))
    assert (change.on, change.alert.text) == (True, "$8.00 of $10 is spent (80%)")
    assert alerts.look(3.0, standing(spent=9.0, most=10.0)) == []
    assert alerts.look(4.0, standing(spent=9.0)) == []
    assert Alerts(AlertSettings(), 0.0).look(1.0, standing(spent=0.0, most=0.0)) == []


@pytest.mark.parametrize(("level", "text"), [("CRITICAL", "pool a is benched"), ("INFO", "pool a is benched: no [2J money for a fox")])
def test_the_apis_words_about_a_pool_are_for_who_asked_for_words(level: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(level, "headrace.prompts")
    (change,) = Alerts(AlertSettings(), 0.0).look(1.0, standing(pool("a", "benched: no\x1b[2J money for a fox")))
    assert change.alert.text == text


def test_each_pool_that_is_benched_is_an_alert_of_its_own() -> None:
    alerts = Alerts(AlertSettings(), 0.0)
    gone, ready = pool("a", "benched: no money"), pool("b")
    assert [change.alert.subject for change in alerts.look(1.0, standing(gone, ready))] == ["a"]
    assert [change.alert.subject for change in alerts.look(2.0, standing(gone, pool("b", "benched: its key")))] == ["b"]
    assert [alert.subject for alert in alerts.active] == ["a", "b"]
    # The first turned out to be of one organisation with the second, which works again.
    assert Counter((change.on, change.alert.subject) for change in alerts.look(3.0, standing(ready))) == {(False, "a"): 1, (False, "b"): 1}
    assert alerts.active == ()


def test_no_result_for_so_long_is_told_of_where_there_is_something_to_do() -> None:
    alerts = Alerts(AlertSettings(stalled_minutes=5), 0.0)
    assert alerts.look(600.0, standing(in_flight=0)) == []
    assert alerts.look(899.0, standing(in_flight=1)) == []
    (change,) = alerts.look(900.0, standing(in_flight=1))
    assert (change.on, change.alert.text) == (True, "no result for 5.0 minutes (threshold 5)")
    assert alerts.look(2000.0, standing(in_flight=1)) == []
    alerts.ended(result(), 2001.0)
    assert told(alerts.look(2001.0, standing(in_flight=1))) == [("stalled", "off")]


def test_the_end_of_the_run_tells_what_brought_it_about_and_ends_everything() -> None:
    alerts = Alerts(AlertSettings(), 0.0)
    for _ in range(FEWEST):
        alerts.ended(result(Status.FAILED), 0.0)
    alerts.look(0.0, standing())
    changes = alerts.end(standing(pool(state="benched: no money")))
    assert told(changes) == [("pool_benched", "on"), ("error_rate", "off"), ("pool_benched", "off")]
    assert [change.ended for change in changes] == [False, True, True]
    assert alerts.active == ()


STEPS = st.one_of(
    st.tuples(st.just("called"), st.sampled_from([None, Kind.RATE_LIMITED, Kind.SERVER_ERROR]), st.integers(1, 30)),
    st.tuples(st.just("ended"), st.sampled_from(list(Status)), st.integers(1, 30)),
    st.tuples(
        st.just("look"),
        st.builds(
            standing,
            st.builds(pool, st.sampled_from(["a", "b"]), st.sampled_from(["ready", "benched: x", "paused for 1.0 s"])),
            in_flight=st.integers(0, 1),
            spent=st.sampled_from([0.0, 9.0]),
            most=st.sampled_from([None, 10.0]),
        ),
        st.just(1),
    ),
)


@given(st.lists(st.tuples(st.floats(0, 400), STEPS), max_size=60))
def test_nothing_turns_on_twice_without_off_between_and_everything_is_off_in_the_end(steps: list[Any]) -> None:
    alerts, now, seen = Alerts(AlertSettings(window_s=100, stalled_minutes=5), 0.0), 0.0, []
    for later_s, (what, value, times) in steps:
        now += later_s
        for _ in range(times):
            if what == "called":
                alerts.called(call(value, latency_s=200.0), now)
            elif what == "ended":
                alerts.ended(result(value), now)
            else:
                seen += alerts.look(now, value)
    seen += alerts.end(standing())
    by_alert: dict[Any, list[bool]] = {}
    for change in seen:
        by_alert.setdefault((change.alert.rule, change.alert.subject), []).append(change.on)
    assert {rule for rule, _ in by_alert} <= set(RULES)
    assert all(states == [n % 2 == 0 for n in range(len(states))] and not states[-1] for states in by_alert.values())


SECRET_URL = "https://hooks.example.com/services/T000/B000/XXXXsecretXXXX"


@pytest.mark.parametrize(
    "url", [SECRET_URL, "https://a:b@example.com/x?token=1", "http://127.0.0.1:8080/alerts", "http://[::1]/", "http://localhost:1/x"]
)
def test_a_webhook_is_https_or_on_this_machine(url: str) -> None:
    assert Settings.from_dict({"alerts": {"webhook": url}}).alerts.webhook == url


@pytest.mark.parametrize(
    "url",
    [
        SECRET_URL.replace("https", "http"),
        SECRET_URL.replace("https", "ftp"),
        "https:///XXXXsecretXXXX",
        "XXXXsecretXXXX",
        "https://a b/XXXXsecretXXXX",
    ],
)
def test_any_other_webhook_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="webhook has to be an https URL") as caught:
        Settings.from_dict({"alerts": {"webhook": url}})
    assert "secret" not in str(caught.value)


def test_settings_do_not_show_the_webhook_or_the_command() -> None:
    settings = Settings.from_dict({"alerts": {"webhook": SECRET_URL, "command": ["notify", "--token=XXXXsecretXXXX"]}})
    assert "secret" not in repr(settings)
    assert settings.alerts.command == ("notify", "--token=XXXXsecretXXXX")
