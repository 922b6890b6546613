from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import UsageError
from headrace.log import log
from headrace.observe.logs import configure, redacted
from headrace.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-canary-0123456789abcdefXYZ"
NOTHING_LIKE_A_KEY = "c0ffee5ca1ab1e/canary+5ca1ab1e=="


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """The logger and the hook for crashes are as before."""
    logger = logging.getLogger("headrace")
    before = logger.handlers[:], logger.level, logger.propagate
    hook = sys.excepthook
    yield
    sys.excepthook = hook
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


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "shape",
    [
        lambda key: key,
        lambda key: f"Bearer {key}",
        lambda key: [{"headers": (("authorization", key),)}],
        lambda key: {key: {"deep": [[[[[[key]]]]]]}},
        lambda key: {key},
        lambda key: ValueError([key]),
    ],
    ids=["text", "header", "nested", "name", "set", "exception"],
)
def test_a_key_that_is_in_use_never_comes_out_whatever_it_looks_like(capsys: pytest.CaptureFixture[str], form: str, shape: Any) -> None:
    secret = Secret(NOTHING_LIKE_A_KEY)
    configure("debug", form)
    log.error("call_failed", because=shape(secret.reveal()))
    text = capsys.readouterr().err
    assert "***" in text
    assert "canary" not in text


def test_a_key_is_hidden_from_errors_and_for_as_long_as_it_lives() -> None:
    secret = Secret(NOTHING_LIKE_A_KEY)
    longer = Secret(f"{NOTHING_LIKE_A_KEY}-and-more")
    assert str(UsageError(f"got {secret.reveal()}, {longer.reveal()}!")) == "got ***, ***!"
    del longer
    assert str(UsageError(f"got {secret.reveal()}-and-more")) == "got ***-and-more"
    del secret
    assert str(UsageError(NOTHING_LIKE_A_KEY)) == NOTHING_LIKE_A_KEY


def test_the_stand_in_for_a_key_of_a_local_server_takes_no_words_away() -> None:
    secret = Secret("any")
    assert str(UsageError("it holds many things")) == "it holds many things"
    assert secret.reveal() == "any"


def test_what_is_nested_keeps_its_shape_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", "json")
    log.error("call_failed", because={"status": 429, "waits": [1.5, None, "a\nb"]})
    assert json.loads(capsys.readouterr().err)["because"] == {"status": 429, "waits": [1.5, None, "a b"]}


def fall(key: str) -> None:
    local = f"a local with {key}"
    raise ValueError(f"{len(local)} and {key}")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("key", [KEY, NOTHING_LIKE_A_KEY])
def test_an_exception_is_logged_with_its_lines_and_without_keys_or_locals(capsys: pytest.CaptureFixture[str], form: str, key: str) -> None:
    secret = Secret(key)
    configure("debug", form)
    try:
        fall(secret.reveal())
    except ValueError:
        log.exception("call_failed")
    text = capsys.readouterr().err
    assert "call_failed" in text
    assert "in fall" in text
    assert "and ***" in text
    assert "canary" not in text
    assert "a local with ***" not in text
    assert ("\n    raise ValueError" if form == "console" else "\\n    raise ValueError") in text


@pytest.mark.parametrize("key", [KEY, NOTHING_LIKE_A_KEY])
def test_a_crash_is_told_with_its_lines_and_without_keys_or_locals(capsys: pytest.CaptureFixture[str], key: str) -> None:
    secret = Secret(key)
    configure("warning", "auto")
    try:
        fall(secret.reveal())
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):\n  File ")
    assert text.splitlines()[-1].endswith("and ***")
    assert "canary" not in text
    assert "a local with ***" not in text


def test_a_configuration_replaces_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    configure("info", "json")
    log.info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_numbers_stay_numbers_and_texts_are_cut() -> None:
    event = redacted(None, "info", {"event": "x" * 1_000, "count": 3, "ratio": 0.5, "flag": False})
    assert len(event["event"]) == 500
    assert (event["count"], event["ratio"], event["flag"]) == (3, 0.5, False)
