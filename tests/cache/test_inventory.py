from __future__ import annotations

import base64
import json
import os
import shutil
from array import array
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from headrace.cache.inventory import MANIFEST, TAKEN, THERE, export, import_from, matching, mend, problems, statistics
from headrace.cache.store import Store
from headrace.errors import OutputError, UsageError
from headrace.records import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.cache.entry import Entry

    Make = Callable[..., Entry]

DAY_S = 86_400.0
VECTOR = Vector("e:1", array("f", [0.6, 0.8]).tobytes())


@pytest.fixture
def filled(store: Store, root: Path, entry: Make) -> Store:
    """A fox, a wolf in two pictures, and an owl elsewhere."""
    fox = store.put(entry(root, "a fox"), root, VECTOR)
    store.put(entry(root, "a wolf", b"one", b"two", cost_usd=0.5, usage=None, origin="wolf"), root)
    store.put(entry(root, "an owl", b"one", namespace="elsewhere", cost_usd=None), root)
    store.touch({fox.number: 4})
    return store


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Store]:
    """Another cache."""
    with closing(Store(tmp_path / "target", DAY_S)) as made:
        yield made


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


def write(folder: Path, *documents: object) -> None:
    (folder / MANIFEST).write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in documents))


# Counted


def test_the_sums_of_an_empty_cache_are_nothing(store: Store) -> None:
    found = statistics(store)
    assert (found.entries, found.pictures, found.bytes, found.hits, found.saved_usd, found.spent_usd) == (0, 0, 0, 0, 0.0, 0.0)
    assert (found.oldest, found.newest, found.scopes, found.namespaces, found.encoders) == (None, None, 0, (), ())


def test_the_sums_are_those_of_what_is_there(filled: Store) -> None:
    found = statistics(filled)
    assert (found.entries, found.pictures, found.bytes, found.hits, found.scopes) == (3, 3, 11, 4, 2)
    assert (found.saved_usd, found.spent_usd) == pytest.approx((0.024, 0.506))
    assert found.oldest is not None
    assert found.newest is not None
    assert found.oldest <= found.newest
    assert found.namespaces == (("", 2), ("elsewhere", 1))
    assert found.encoders == (("e:1", 1),)


# Checked


def test_a_cache_that_agrees_has_no_problems(filled: Store) -> None:
    assert list(problems(filled)) == []
    assert mend(filled) == (0, 0)
    assert len(list(filled.entries())) == 3


def test_every_disagreement_is_named_and_mended(filled: Store, folder: Path) -> None:
    fox, wolf, owl = filled.entries()
    (folder / fox.pictures[0].path).unlink()
    stray = folder / "images" / "zz" / "stray.png"
    stray.parent.mkdir()
    stray.touch()
    (folder / "images" / "zz" / ".abc.part").touch()
    assert sorted(problems(filled)) == [
        f"entry {fox.number}: {fox.pictures[0].path} is missing or broken",
        "images/zz/.abc.part belongs to no entry",
        "images/zz/stray.png belongs to no entry",
    ]
    assert mend(filled) == (1, 2)
    assert list(problems(filled)) == []
    assert [each.number for each in filled.entries()] == [wolf.number, owl.number]


def test_a_broken_picture_breaks_all_whose_picture_it_is(filled: Store, folder: Path) -> None:
    _, wolf, owl = filled.entries()
    path = folder / owl.pictures[0].path
    path.write_bytes(b"x" * owl.pictures[0].bytes)
    os.utime(path, (1e9, 1e9))
    assert [problem.split(":")[0] for problem in problems(filled)] == [f"entry {wolf.number}", f"entry {owl.number}"]
    assert mend(filled)[0] == 2
    assert list(problems(filled)) == []
    assert len(list(folder.glob("images/*/*"))) == 1


@pytest.mark.parametrize("name", [b"\xff.png", b"\x1b[2Jx.png", "日本\u202e.png".encode(), b"a b.png", b"new\nline.png"])
def test_a_file_of_any_name_is_told_in_one_clean_line_and_removed(name: bytes, store: Store, folder: Path) -> None:
    (folder / "images" / "ab").mkdir(parents=True)
    path = os.fsencode(folder / "images" / "ab") + b"/" + name
    with open(path, "wb"):  # noqa: PTH123 - names that are no text
        pass
    (problem,) = problems(store)
    assert problem.isprintable()
    assert problem.encode().startswith(b"images/ab/")
    assert mend(store) == (0, 1)
    assert list(problems(store)) == []
    assert not os.path.exists(path)  # noqa: PTH110 - names that are no text


@pytest.mark.parametrize("request_", ["x", "null", '{"later": 1}'])
def test_a_row_that_cannot_be_read_is_a_problem_that_hides_no_others(request_: str, filled: Store, folder: Path) -> None:
    fox, wolf, _ = filled.entries()
    filled._db.execute("update entry set request = ? where id = ?", (request_, fox.number))
    (folder / wolf.pictures[1].path).unlink()
    assert len(list(problems(filled))) == 2
    assert mend(filled)[0] == 2
    assert list(problems(filled)) == []
    assert len(list(filled.entries())) == 1


def test_a_path_that_a_stranger_wrote_is_told_in_clean_words_and_leads_nowhere(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    filled._db.execute("update picture set path = '../mine\x1b[2J' where entry = 1")
    filled._db.execute("update picture set path = '../mine' where entry = 2 and position = 0")
    found = list(problems(filled))
    assert all(problem.isprintable() for problem in found)
    mend(filled)
    assert (tmp_path / "mine").exists()


# Found by words


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("a fox", ["a fox"]),
        ("A fox", []),
        ("wolf", ["a wolf"]),
        ("7", ["a fox", "an owl"]),
        ("#2", ["a wolf"]),
        ("#", []),
        ("#2 ", []),
        ("#" + "9" * 30, []),
        ("#" + "9" * 5000, []),
        ("#²", []),
        ("#-1", []),
        ("", []),
        ("%", []),
        ("\ud800", []),
    ],
)
def test_entries_are_found_by_their_id_their_very_words_or_their_number(words: str, found: list[str], filled: Store) -> None:
    assert [each.request.prompt for each in matching(filled, words)] == found


def test_words_in_another_normal_form_are_the_same(store: Store, root: Path, entry: Make) -> None:
    store.put(entry(root, "caf\u00e9"), root)
    assert len(matching(store, "cafe\u0301")) == 1


# Moved


def test_what_was_exported_is_the_same_in_another_cache(filled: Store, target: Store, tmp_path: Path) -> None:
    assert export(filled, tmp_path / "export") == 3
    assert list(import_from(target, tmp_path / "export")) == [TAKEN] * 3
    exported, imported = list(filled.entries()), list(target.entries())
    assert [attrs.evolve(each, number=0) for each in imported] == [attrs.evolve(each, number=0) for each in exported]
    assert list(problems(target)) == []
    assert target._db.execute("select encoder, value from vector").fetchall() == [(VECTOR.encoder, VECTOR.values)]
    assert statistics(target).bytes == statistics(filled).bytes
    shutil.rmtree(tmp_path / "export")
    assert all(target.pictures.whole(picture) for each in imported for picture in each.pictures), "it needs the export no more"
    assert list(problems(target)) == []


def test_what_is_there_already_stays_as_it_is(filled: Store, tmp_path: Path) -> None:
    export(filled, tmp_path / "export")
    before = list(filled.entries())
    assert list(import_from(filled, tmp_path / "export")) == [THERE] * 3
    assert list(filled.entries()) == before


def test_an_export_is_plain_lines_and_pictures_and_leaves_out_what_is_broken(filled: Store, folder: Path, tmp_path: Path) -> None:
    fox, *_ = filled.entries()
    (folder / fox.pictures[0].path).unlink()
    assert export(filled, tmp_path / "export") == 2
    assert [line["request"]["prompt"] for line in lines(tmp_path / "export")] == ["a wolf", "an owl"]
    there = {path.relative_to(tmp_path / "export").as_posix() for path in (tmp_path / "export").rglob("*") if path.is_file()}
    assert there == {MANIFEST} | {picture["path"] for line in lines(tmp_path / "export") for picture in line["pictures"]}


def test_an_export_goes_into_an_empty_folder_only(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(UsageError, match="not empty"):
        export(filled, tmp_path / "mine")
    with pytest.raises(UsageError, match="not empty"):
        export(filled, filled.folder)
    with pytest.raises(OutputError, match="cannot be written"):
        export(filled, tmp_path / "mine" / "file")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["file"]


@pytest.mark.parametrize("where", ["none", "empty", "file"])
def test_what_is_no_export_is_refused_in_one_line(where: str, target: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be read") as raised:
        list(import_from(target, tmp_path / where))
    assert len(str(raised.value).splitlines()) == 1


TAMPERED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no JSON": lambda _: "{",
    "no UTF-8": lambda _: "\udcff",
    "nested too deeply": lambda _: "[" * 100_000,
    "a list": lambda _: [1],
    "an unknown key": lambda line: line | {"code": "x"},
    "a missing key": lambda line: {name: value for name, value in line.items() if name != "request"},
    "a number for the words": lambda line: line | {"request": line["request"] | {"prompt": 7}},
    "half of a surrogate pair": lambda line: line | {"request": line["request"] | {"prompt": "\ud800"}},
    "no pictures": lambda line: line | {"pictures": []},
    "no scope": lambda line: line | {"scope": "x"},
    "a path that leads out": lambda line: line | {"pictures": [line["pictures"][0] | {"path": "../../x.png"}]},
    "a path from the root": lambda line: line | {"pictures": [line["pictures"][0] | {"path": "/x.png"}]},
    "a path of other content": lambda line: line | {"pictures": [line["pictures"][0] | {"path": f"images/aa/{'a' * 64}.png"}]},
    "another hash": lambda line: line | {"pictures": [line["pictures"][0] | {"sha256": "a" * 64}]},
    "another size": lambda line: line | {"pictures": [line["pictures"][0] | {"bytes": 6}]},
    "a negative size": lambda line: line | {"pictures": [line["pictures"][0] | {"bytes": -5}]},
    "a time that is none": lambda line: line | {"created": float("nan")},
    "an endless time": lambda line: line | {"used": float("inf")},
    "hits beyond all bounds": lambda line: line | {"hits": 10**30},
    "negative hits": lambda line: line | {"hits": -(10**6)},
    "an endless cost": lambda line: line | {"cost_usd": float("inf")},
    "a cost that is none": lambda line: line | {"cost_usd": float("nan")},
    "a bill beyond 64 bits": lambda line: line | {"usage": {"input_tokens": 10**30, "output_tokens": 1}},
    "a width beyond 64 bits": lambda line: line | {"pictures": [line["pictures"][0] | {"width": 10**30}]},
    "no base64": lambda line: line | {"vector": "!"},
    "a vector of odd bytes": lambda line: line | {"vector": "AAA="},
    "a vector of nothing": lambda line: line | {"vector": base64.b64encode(bytes(8)).decode()},
    "a vector of no numbers": lambda line: line | {"vector": base64.b64encode(array("f", [float("nan")] * 2).tobytes()).decode()},
    "a vector that is near everything": lambda line: line | {"vector": base64.b64encode(array("f", [60.0, 80.0]).tobytes()).decode()},
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_line_that_was_tampered_with_is_named_and_the_others_are_taken(how: str, filled: Store, target: Store, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(filled, folder)
    fox, wolf, owl = lines(folder)
    made = TAMPERED[how](fox)
    (folder / MANIFEST).write_bytes(
        b"".join(
            (each if isinstance(each, str) else json.dumps(each)).encode(errors="surrogateescape") + b"\n" for each in (wolf, made, owl)
        )
    )
    first, second, third = import_from(target, folder)
    assert first == third == TAKEN
    assert second.startswith("line 2: ")
    assert second.isprintable()
    assert [each.request.prompt for each in target.entries()] == ["a wolf", "an owl"]
    while target.evict(None, None):
        pass
    assert list(problems(target)) == []
    assert statistics(target).bytes == sum(picture["bytes"] for picture in wolf["pictures"])
    assert not (tmp_path / "x.png").exists()


def test_a_picture_of_an_export_is_taken_for_what_it_is_and_not_for_its_name(filled: Store, target: Store, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(filled, folder)
    fox, *_ = lines(folder)
    path = folder / fox["pictures"][0]["path"]
    path.unlink()  # the copy in the cache is the same file
    path.write_bytes(b"b fox")
    assert list(import_from(target, folder)) == [
        "line 1: a picture of it is missing or broken, or the cache cannot be written",
        TAKEN,
        TAKEN,
    ]
    assert list(problems(filled)) == []


def test_words_that_were_tampered_with_answer_for_themselves_alone(filled: Store, target: Store, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(filled, folder)
    fox, *_ = lines(folder)
    write(folder, fox | {"request": fox["request"] | {"prompt": "a bear"}})
    assert list(import_from(target, folder)) == [TAKEN]
    original, *_ = filled.entries()
    assert target.get(original.key) is target.get_canonical(original.canonical) is None


def test_what_was_tampered_with_replaces_no_file_of_the_cache(filled: Store, tmp_path: Path, root: Path, entry: Make) -> None:
    stranger = entry(tmp_path / "export", "another", b"another picture")
    fox, *_ = filled.entries()
    there = tmp_path / "export" / fox.pictures[0].path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(b"another picture")
    line = {
        "scope": stranger.scope,
        "namespace": "",
        "request": attrs.asdict(stranger.request),
        "origin": "x",
        "pictures": [attrs.asdict(stranger.pictures[0]) | {"path": fox.pictures[0].path}],
        "created": fox.created,
        "used": fox.used,
        "hits": 0,
    }
    write(tmp_path / "export", line)
    assert len([problem for problem in import_from(filled, tmp_path / "export") if problem not in (TAKEN, THERE)]) == 1
    assert list(problems(filled)) == []
    assert root.is_dir()


def test_an_answer_from_the_future_or_the_far_past_is_no_more_than_one_of_today(filled: Store, target: Store, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(filled, folder)
    fox, wolf, owl = lines(folder)
    write(folder, fox | {"created": 1e300, "used": 1e300}, wolf | {"created": 0.0, "used": 0.0}, owl | {"created": 1.0, "used": 1.0})
    list(import_from(target, folder))
    newest = statistics(target).newest
    assert newest is not None
    assert newest < 1e12
    assert target._db.execute("select max(used) < 1e12 from entry").fetchone() == (1,)
    assert {each.request.prompt for each in target.entries()} <= {"a fox", "a wolf"}
