"""What is known before there is an actor."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import UsageError
from headrace.ray import _for_actors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.settings import Settings

STORE = {"store": "redis://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("tables", "actors", "said"),
    [
        ({}, 0, "concurrency is 0; it is at least 1"),
        ({}, 2, r"2 actors would each take the whole of the limits; name a Redis as store in \[quota\], or say concurrency=1"),
        (
            {"quota": {"store": "redis://:hush-hush@127.0.0.1:9"}},
            1,
            r"\[quota\] store holds a password, which would lie in Ray's object store; name the variable that has it as password_env",
        ),
        ({"run": {"journal": True}}, 1, r"\[run\] journal is for one process"),
        ({"quota": STORE, "run": {"max_cost_usd": 5.0}}, 2, r"\[run\] max_cost_usd is kept by each process alone; say concurrency=1"),
        ({"quota": STORE, "run": {"metrics_port": 9464}}, 2, r"\[run\] metrics_port is 9464, which one actor a machine can have"),
    ],
)
def test_settings_that_actors_cannot_share_are_refused(
    settings: Callable[..., Settings], tables: dict[str, Any], actors: int, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        _for_actors(settings(**tables), actors)
    assert "hush-hush" not in str(raised.value)


def test_one_actor_and_simulated_ones_need_no_store(settings: Callable[..., Settings]) -> None:
    assert _for_actors(settings(run={"max_cost_usd": 5.0, "metrics_port": 9464}), 1).run.max_cost_usd == 5.0
    assert _for_actors(settings(run={"simulate": True}), 4).run.simulate


def test_actors_elsewhere_find_the_same_folders(settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = [{"name": "studio-a", "pool": "studio", "file": "keys/a"}]
    pools = [{"name": "studio", "project": "proj_1", "admin_file": "keys/admin"}]
    for given, found in (("place", str(tmp_path / "place")), ("~/place", "~/place"), ("/place", "/place")):
        other = {
            "base_url": "http://127.0.0.1:9/v1",
            "model": "any",
            "pool": [{"name": "b"}],
            "key": [{"name": "b1", "pool": "b", "file": "keys/b"}],
        }
        tables = {"run": {"out_dir": given}, "cache": {"dir": given, "shared": f"{given}-shared"}, "pool": pools, "key": keys}
        made = _for_actors(settings(**tables, quota=STORE, fallback={"alternative": other}), 2)
        assert (made.cache.dir, made.cache.shared) == (found, f"{found}-shared")
        assert made.run.out_dir == str(tmp_path / given)  # the only one in which '~' is a name like others
        assert made.fallback.alternative is not None
        files = [made.key[0].file, made.pool[0].admin_file, made.fallback.alternative.key[0].file]
        assert files == [str(tmp_path / "keys" / name) for name in ("a", "admin", "b")]
    assert _for_actors(settings(cache={"shared": "s3://bucket/pictures"}, quota=STORE), 2).cache.shared == "s3://bucket/pictures"


def test_each_call_is_a_job_of_its_own_unless_it_has_a_name(settings: Callable[..., Settings]) -> None:
    shared = {"shared": "/place"}
    first, second = (_for_actors(settings(cache=shared, quota=STORE), 2).cache.job for _ in range(2))
    assert None not in (first, second)
    assert first != second
    assert _for_actors(settings(cache=shared | {"job": "mine"}, quota=STORE), 2).cache.job == "mine"


def test_ray_is_not_imported_before_it_is_needed_and_its_absence_is_one_line() -> None:
    code = (
        "import sys; sys.modules['ray'] = None; import headrace\n"
        "try:\n    headrace.ray.generate(None)\n"
        "except headrace.UsageError as error:\n    print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - our own command
    assert ended.stdout == "headrace.ray needs an extra; install it with: pip install 'headrace[ray]'\n"
