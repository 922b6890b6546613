from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from headrace.log import log
from headrace.observe.logs import configure, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-canary-0123456789abcdefXYZ"


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """The logger is as before."""
    logger = logging.getLogger("headrace")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_without_configuration_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    log.error("call_failed", key="studio-a")
    assert capsys.readouterr() == ("", "")


def test_events_for_machines_are_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    log.info("call_failed", key="studio-a", status=429, after_s=0.5, retried=True, nothing=None)
    log.debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert {"timestamp"} == event.keys() - {"event", "level", "key", "status", "after_s", "retried", "nothing"}
    assert (event["event"], event["level"], event["status"], event["retried"], event["nothing"]) == ("call_failed", "info", 429, True, None)


@pytest.mark.parametrize("form", ["console", "auto"])
def test_events_for_people_are_one_line_each_without_colours_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    configure("warning", form)
    log.warning("pool_changed", because="line one\nline two \x1b[31m", pool="studio")
    log.info("not shown")
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "pool_changed" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [KEY, f"Bearer {KEY}", f"https://x.example/?key={KEY}&a=b", [KEY], {"key": KEY, KEY: 1}, ValueError(KEY), KEY.encode(), (KEY,)],
    ids=["text", "header", "url", "list", "mapping", "exception", "bytes", "tuple"],
)
def test_a_key_in_an_event_never_comes_out(capsys: pytest.CaptureFixture[str], form: str, value: Any) -> None:
    configure("debug", form)
    log.error("call_failed", because=value)
    text = capsys.readouterr().err
    assert "***" in text
    assert "canary" not in text


def test_a_key_in_an_exception_that_is_logged_never_comes_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", "json")
    try:
        raise ValueError(KEY)  # noqa: TRY301 - to be logged
    except ValueError:
        log.exception("call_failed")
    text = capsys.readouterr().err
    assert "call_failed" in text
    assert "canary" not in text


def test_a_configuration_replaces_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    configure("info", "json")
    log.info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_numbers_stay_numbers_and_texts_are_cut() -> None:
    event = redacted(None, "info", {"event": "x" * 1_000, "count": 3, "ratio": 0.5, "flag": False})
    assert len(event["event"]) == 500
    assert (event["count"], event["ratio"], event["flag"]) == (3, 0.5, False)
