from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from headrace.errors import UsageError
from headrace.settings import KeySettings, PoolSettings, Settings

CANARY = "sk-proj-canary_0123456789abcdef"


def complaint(data: dict[Any, Any]) -> str:
    with pytest.raises(UsageError) as raised:
        Settings.from_dict(data)
    text = str(raised.value)
    assert text
    assert len(text.splitlines()) == 1
    return text


def load(folder: Path, content: str | bytes) -> Settings:
    path = folder / "headrace.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Settings.load(path)


def refused_file(folder: Path, content: str | bytes) -> str:
    with pytest.raises(UsageError) as raised:
        load(folder, content)
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert str(folder / "headrace.toml") in text
    return text


EXAMPLE = """
[request]
model = "gpt-image-2.5-flare"
[provider]
base_url = "https://api.openai.com/v1"
timeout_s = 300
[[pool]]
name = "studio"
tier = 3
images_per_minute = 40
[[key]]
name = "studio-a"
pool = "studio"
env = "OPENAI_API_KEY"
weight = 2
[fallback]
ladder = ["alternative_api", "reduced_quality"]
[fallback.alternative]
base_url = "http://localhost:8080/v1"
model = "other"
[[fallback.alternative.key]]
name = "other"
file = "~/key"
[cache]
policy = "exact"
ttl_days = 0.5
"""


def test_a_file_of_every_table_is_read(tmp_path: Path) -> None:
    settings = load(tmp_path, EXAMPLE)
    limits = settings.pool[0].limits()
    assert (limits.images_per_minute, limits.tokens_per_minute, limits.requests_per_minute) == (40.0, 800_000, None)
    assert settings.key[0].weight == 2.0
    assert settings.fallback.ladder == ("alternative_api", "reduced_quality")
    assert settings.fallback.alternative is not None
    assert settings.fallback.alternative.key[0].file == "~/key"
    assert settings.cache.ttl_days == 0.5


OTHER = {"base_url": "https://x", "model": "m", "key": [{"name": "default", "env": "B"}]}


@pytest.mark.parametrize("content", ["", "\n", "# nothing\n"])
def test_an_empty_file_is_all_defaults(content: str | bytes, tmp_path: Path) -> None:
    assert load(tmp_path, content) == Settings()


def test_without_a_path_the_file_in_this_folder_is_read_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.load() == Settings()
    Path("headrace.toml").write_text("[request]\nn = 2\n", "utf-8")
    assert Settings.load().request.n == 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"requst": {}}, ["requst", "'request'"]),
        ({"request": {"modle": "x"}}, ["request.modle", "'model'"]),
        ({"pool": [{"name": "a"}, {"name": "b", "teir": 1}]}, ["pool.1.teir", "'tier'"]),
        ({"key": [{"name": "a", "env": "X", "wieght": 1}]}, ["key.0.wieght", "'weight'"]),
        ({"fallback": {"alternative": {"base_url": "https://x", "model": "m", "pools": []}}}, ["fallback.alternative.pools", "'pool'"]),
        ({"request": {"n": 1, "zzzz": 1, "yyyy": 2}}, ["request.zzzz", "request.yyyy"]),
        ({"request": {"n": "2"}}, ["request.n", "'2' is not a whole number"]),
        ({"request": {"n": True}}, ["request.n", "True"]),
        ({"request": {"n": 2.0}}, ["request.n"]),
        ({"request": {"n": 0}}, ["n is 0", "from 1 to 10"]),
        ({"request": {"n": 11}}, ["n is 11"]),
        ({"request": {"model": 5}}, ["request.model", "not text"]),
        ({"request": []}, ["request", "not a table"]),
        ({"request": {"output_format": "gif"}}, ["gif", "png"]),
        ({"request": {"output_format": "jpg"}}, ["'jpeg'"]),
        ({"request": {"output_compression": 101}}, ["101"]),
        ({"provider": {"timeout_s": 0}}, ["timeout_s"]),
        ({"provider": {"timeout_s": float("nan")}}, ["timeout_s"]),
        ({"provider": {"timeout_s": float("inf")}}, ["timeout_s"]),
        ({"provider": {"estimator": "vender"}}, ["'vendor'"]),
        ({"pool": {"name": "a"}}, ["pool", "[["]),
        ({"key": {"name": "a", "env": "X"}}, ["key", "[["]),
        ({"pool": ["a"]}, ["pool.0", "not a table"]),
        ({"pool": [{}]}, ["pool.0.name"]),
        ({"pool": [{"name": ""}]}, ["pool.0", "name"]),
        ({"pool": [{"name": "a b"}]}, ["name"]),
        ({"pool": [{"name": "a", "tier": 9}]}, ["tier 9", "article-2025-07/1"]),
        ({"pool": [{"name": "a", "tier": 1.0}]}, ["pool.0.tier"]),
        ({"pool": [{"name": "a", "tier": True}]}, ["pool.0.tier"]),
        ({"pool": [{"name": "a", "images_per_minute": 0}]}, ["images_per_minute"]),
        ({"pool": [{"name": "a", "images_per_minute": float("nan")}]}, ["images_per_minute"]),
        ({"pool": [{"name": "a", "images_per_minute": 10**400}]}, ["images_per_minute"]),
        ({"pool": [{"name": "a", "models": "gpt-image-*"}]}, ["pool.0.models", "not a list"]),
        ({"pool": [{"name": "a", "models": ["gpt-image-*", ""]}]}, ["models holds ''", "gpt-image-2.5-*"]),
        ({"pool": [{"name": "a", "models": [5]}]}, ["pool.0.models"]),
        ({"pool": [{"name": "a", "exceed": 1}]}, ["pool.0.exceed", "true or false"]),
        ({"pool": [{"name": "a", "project": "proj_1"}]}, ["pool.0", "admin_env", "admin_file"]),
        ({"pool": [{"name": "a", "admin_env": "X"}]}, ["project"]),
        ({"pool": [{"name": "a", "admin_file": "x"}]}, ["project"]),
        ({"pool": [{"name": "a", "project": "proj_1", "admin_env": "X", "admin_file": "y"}]}, ["admin_env", "admin_file"]),
        ({"pool": [{"name": "a", "project": "../b", "admin_env": "X"}]}, ["project"]),
        ({"pool": [{"name": "a"}, {"name": "a"}]}, ["two", "'a'"]),
        ({"key": [{"name": "a", "env": "X"}, {"name": "a", "env": "Y"}]}, ["two", "'a'"]),
        ({"key": [{"name": "a"}]}, ["env", "file"]),
        ({"key": [{"name": "a", "env": "X", "file": "y"}]}, ["env", "file"]),
        ({"key": [{"name": "a", "env": "X", "weight": 0}]}, ["weight"]),
        ({"pool": [{"name": "studio"}], "key": [{"name": "a", "env": "X", "pool": "studoi"}]}, ["studoi", "'studio'"]),
        ({"fallback": {"ladder": "reduced_quality"}}, ["ladder", "not a list"]),
        ({"fallback": {"ladder": ["reduced_qualty"]}}, ["'reduced_quality'"]),
        ({"fallback": {"alternative": {"model": "m"}}}, ["fallback.alternative.base_url", "missing"]),
        ({"fallback": {"alternative": OTHER}}, ["fallback.alternative", "a pool named 'default'", "another name"]),
        ({"fallback": {"alternative": OTHER}, "key": [{"name": "default", "env": "A"}]}, ["a pool named 'default'"]),
        (
            {"fallback": {"alternative": OTHER}, "key": [{"name": "default", "env": "A", "pool": "p"}], "pool": [{"name": "p"}]},
            ["a key named 'default'"],
        ),
        ({"cache": {"policy": "exakt"}}, ["'exact'"]),
        ({"cache": {"ttl_days": -1}}, ["ttl_days"]),
        ({"run": {"max_in_flight": 0}}, ["max_in_flight"]),
        ({"run": {"max_wait_s": 0.5}}, ["max_wait_s is 0.5", "at least 1"]),
        ({"run": {"max_wait_s": float("inf")}}, ["max_wait_s"]),
        ({"run": {"ordered": 1}}, ["run.ordered", "true or false"]),
        ({"a\nb": 1}, ["a"]),
        ({"request": {"\x1b[31m": 1}}, ["request."]),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place_and_what_would_do(data: dict[str, Any], says: list[str]) -> None:
    text = complaint(data)
    assert [part for part in says if part not in text] == []
    assert "\x1b" not in text


def test_every_complaint_is_in_the_one_line() -> None:
    text = complaint({"request": {"n": "x", "modle": 1}, "cache": {"dir": 5}})
    assert [part for part in ("request.n", "request.modle", "cache.dir") if part not in text] == []


def test_a_key_of_a_mapping_that_is_no_text_is_refused_like_any_other() -> None:
    assert "1" in complaint({1: 2})
    assert "request" in complaint({"request": {1: 2, "x": 3}})


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",
        "http://127.0.0.1.example.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://2130706433",
        "ftp://localhost",
        "",
        "api.openai.com",
        "https://",
        "https:///v1",
        "http://[::1",
        "https://user:hunter2@example.com",
        "https://example.com?key=hunter2",
        "ftp://user:hunter2@example.com",
        "https://example.com:99999",
        "https://example.com:port",
        "https://example.com/v1#part",
        "https://exam\nple.com",
        "https://example.com/ v1",
        "file:///etc/passwd",
    ],
)
def test_an_address_to_which_no_key_should_go_is_refused(url: str) -> None:
    for data in ({"provider": {"base_url": url}}, {"fallback": {"alternative": {"base_url": url, "model": "m"}}}):
        assert "hunter2" not in complaint(data)


@pytest.mark.parametrize(
    "url", ["https://example.com", "http://localhost:1/v1", "http://127.0.0.1:8080", "http://127.1.2.3/v1", "http://[::1]:80/v1"]
)
def test_https_anywhere_and_http_to_this_machine_are_fine(url: str) -> None:
    assert Settings.from_dict({"provider": {"base_url": url}}).provider.base_url == url


@pytest.mark.parametrize(
    "data",
    [
        {"key": CANARY},
        {"key": [CANARY]},
        {"key": [{"name": CANARY, "env": "X"}]},
        {"key": [{"name": "a", "env": CANARY}]},
        {"key": [{"name": "a", "env": f"Bearer {CANARY}"}]},
        {"key": [{"name": "a", "pool": CANARY, "env": "X"}]},
        {"key": [{"name": "a", "key": CANARY}]},
        {"key": [{"name": "a", "weight": CANARY, "env": "X"}]},
        {"key": [{"name": "a", "env": "X", CANARY: 1}]},
        {CANARY: 1},
        {"pool": [{"name": CANARY}]},
        {"pool": [{"name": "a", "project": CANARY, "admin_env": "X"}]},
        {"pool": [{"name": "a", "project": "proj_1", "admin_env": CANARY}]},
        {"pool": [{"name": "a", "models": CANARY}]},
        {"pool": [{"name": "a", "models": [CANARY + "\x07"]}]},
        {"pool": [{"name": "a", "tier": CANARY}]},
        {"provider": {"base_url": CANARY}},
        {"provider": {"base_url": f"https://{CANARY}@example.com"}},
        {"provider": {"base_url": f"http://example.com/{CANARY}"}},
        {"provider": {"timeout_s": CANARY}},
        {"provider": {"api_key": CANARY}},
        {"provider": CANARY},
        {"request": {"output_format": CANARY}},
        {"fallback": {"ladder": [CANARY]}},
        {"cache": {"policy": CANARY}},
    ],
    ids=lambda data: repr(data).replace(CANARY, "KEY")[:60],
)
def test_a_key_in_the_wrong_place_is_not_repeated(data: dict[str, Any]) -> None:
    assert "canary" not in complaint(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"alerts": {"command": "curl https://example.com/canary"}}, "alerts.command: it is not a list"),
        ({"alerts": {"command": ["curl", {"canary": 1}]}}, "alerts.command.1: it is not text"),
        ({"alerts": {"webhook": ["https://example.com/canary"]}}, "alerts.webhook: it is not text"),
        ({"alerts": "https://example.com/canary"}, "alerts: it is not a table"),
        ({"quota": {"store": {"canary": 1}}}, "quota.store: it is not text"),
        ({"quota": "redis://:canary@127.0.0.1"}, "quota: it is not a table"),
        ({"key": CANARY}, "key: '***' is not a list"),
        ({"alerts": {"window_s": "long"}}, "alerts.window_s: 'long' is not a number"),
    ],
)
def test_what_is_shown_nowhere_is_not_quoted_either(data: dict[str, Any], says: str) -> None:
    assert complaint(data) == says


@pytest.mark.parametrize(
    "content",
    [
        "[request",
        "a = 1\na = 2",
        "= 1",
        "a = 1979-99-99",
        b"\xff\xfe[\x00",
        b"a = '\xe9'",
        "a = " + "[" * 100_000,
        "a = " + "1" * 5_000,
        "a\x00",
    ],
    ids=lambda content: repr(content)[:20],
)
def test_a_file_that_is_no_toml_is_refused_in_one_line(content: str | bytes, tmp_path: Path) -> None:
    refused_file(tmp_path, content)


def test_a_complaint_about_a_file_names_it(tmp_path: Path) -> None:
    assert "request.modle" in refused_file(tmp_path, "[request]\nmodle = 1")


def test_a_key_in_a_broken_file_is_not_repeated(tmp_path: Path) -> None:
    for content in (
        f"key = {CANARY}",
        f'key = "{CANARY}',
        f"{CANARY}",
        f"[[key]]\nenv = '{CANARY}'\nenv = '{CANARY}'",
        f"[{CANARY}]\n[{CANARY}]",
    ):
        assert "canary" not in refused_file(tmp_path, content)


@pytest.mark.parametrize("name", ["missing.toml", ".", "file/x.toml", "a\0b"])
def test_a_path_that_cannot_be_read_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as raised:
        Settings.load(f"{tmp_path}/{name}")
    assert len(str(raised.value).splitlines()) == 1


def test_a_key_from_the_environment() -> None:
    key = KeySettings(name="a", env="X")
    assert key.secret({"X": f" {CANARY}\n"}).reveal() == CANARY
    for environ in ({}, {"X": ""}, {"X": " \n"}):
        with pytest.raises(UsageError, match=r"key a: the environment variable X is not set"):
            key.secret(environ)


@pytest.mark.parametrize("text", [f"{CANARY} {CANARY}", f"{CANARY}\n{CANARY}", f"{CANARY}\x07", f"{CANARY}é", f"{CANARY}\u200b"])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="key a: ") as raised:
        KeySettings(name="a", env="X").secret({"X": text})
    assert "canary" not in str(raised.value)


def test_a_key_from_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{CANARY}\n", "utf-8")
    key = KeySettings(name="a", file=str(path))
    for mode in (0o644, 0o640, 0o604, 0o660, 0o610):
        path.chmod(mode)
        with pytest.raises(UsageError, match="chmod 600"):
            key.secret({})
    for mode in (0o600, 0o400):
        path.chmod(mode)
        assert key.secret({}).reveal() == CANARY


def test_an_administrators_key_is_found_like_any_other(tmp_path: Path) -> None:
    pool = PoolSettings(name="studio", project="proj_1", admin_env="X")
    assert pool.admin_secret({"X": f"{CANARY}\n"}).reveal() == CANARY
    with pytest.raises(UsageError, match="the administrator's key of pool studio: the environment variable X is not set"):
        pool.admin_secret({})
    path = tmp_path / "key"
    path.write_text(CANARY)
    path.chmod(0o644)
    pool = PoolSettings(name="studio", project="proj_1", admin_file=str(path))
    with pytest.raises(UsageError, match="chmod 600"):
        pool.admin_secret({})
    path.chmod(0o600)
    assert pool.admin_secret({}).reveal() == CANARY


def test_each_limit_says_where_it_came_from() -> None:
    assert PoolSettings(name="a").sources() == {}
    both = PoolSettings(name="a", tier=3, images_per_minute=40, max_concurrency=9)
    assert both.sources() == {"images": "settings", "tokens": "tier 3", "calls": "settings"}


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"two\nkeys", bytes(100)])
def test_a_key_file_without_a_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="key a: "):
        KeySettings(name="a", file=str(path)).secret({})


@pytest.mark.parametrize("name", ["missing", "", "a\0b", "~headrace-nobody/key", CANARY])
def test_a_key_file_that_cannot_be_read_is_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="key a: ") as raised:
        KeySettings(name="a", file=name).secret({})
    assert len(str(raised.value).splitlines()) == 1
    # A key pasted where its file should be named.
    assert "canary" not in str(raised.value)


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    handle = os.open(tmp_path / "key", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(handle, CANARY.encode())
    os.close(handle)
    assert KeySettings(name="a", file="~/key").secret({}).reveal() == CANARY


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings().request.n = 5  # type: ignore[misc]  # that it cannot be set is the point


tables = ["request", "provider", "pool", "key", "fallback", "cache", "run", "alternative"]
names = st.sampled_from([*tables, "name", "env", "file", "tier", "n", "ladder", "base_url", "policy", "a\nb", "sk-x", ""])
scalars = st.sampled_from(
    [None, True, 0, 1, -1, 10**400, 0.5, float("nan"), float("inf"), "", "a", "a\nb", "\ud800", "OK", "https://x", date(2026, 1, 1)]
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3), max_leaves=6)


@given(st.dictionaries(names, values, max_size=4))
@given_settings(max_examples=150, phases=[Phase.explicit, Phase.generate])
def test_whatever_a_file_says_is_settings_or_one_line(data: dict[str, Any]) -> None:
    try:
        Settings.from_dict(data)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - most are errors, some are none
