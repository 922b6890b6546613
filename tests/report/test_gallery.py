from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from headrace.records import Kind, Match, Picture, Problem, Result, Status, Strategy
from headrace.report import gallery as module
from headrace.report.gallery import RECORDS, Gallery
from headrace.report.rows import Item
from headrace.report.thumbnails import Thumbnails

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.report.gallery import Block

DIGEST = "ab" * 32
PICTURE = Picture(path=f"images/ab/{DIGEST}.png", sha256=DIGEST, format="png", width=40, height=30, bytes=9)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Of a folder that has the picture and its thumbnail."""
    (tmp_path / "thumbnails" / "ab").mkdir(parents=True)
    (tmp_path / "images" / "ab").mkdir(parents=True)
    (tmp_path / PICTURE.path).write_bytes(b"picture")
    (tmp_path / "thumbnails" / "ab" / f"{DIGEST}.webp").write_bytes(b"thumbnail")
    return Gallery(Thumbnails(tmp_path))


def item(name: str = "0", prompt: str | None = "a fox", status: str = "ok", **fields: Any) -> Item:
    given: dict[str, Any] = {"strategy": Strategy.PRIMARY, "images": (PICTURE,)} | fields
    result = Result(seq=0, id=name, prompt=prompt, status=Status(status), **given)
    return Item(number=1, name=name, prompt=prompt, status=status, result=result, ended_at=0.0)


def unpacked(block: Block) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(block.data)))


def by_name(gallery: Gallery, *items: Item) -> dict[str, Any]:
    blocks = list(gallery.blocks(items))
    assert len({block.name for block in blocks}) == len(blocks)
    return {block.name: json.loads(block.data) if block.name.startswith("thumbnails") else unpacked(block) for block in blocks}


def test_records_come_in_blocks_and_the_index_has_one_sign_for_each(gallery: Gallery) -> None:
    failed = item("bad", status="failed", strategy=None, images=(), error=Problem(kind=Kind.SERVER_ERROR, message="oops"))
    blocks = by_name(gallery, *(item(str(number)) for number in range(RECORDS)), failed)
    assert [len(blocks[f"records-{number}"]) for number in range(2)] == [RECORDS, 1]
    index = blocks["index"]
    assert index["codes"] == [["ok", "primary"], ["failed", None]]
    assert index["all"] == "!" * RECORDS + '"'
    assert blocks["records-1"][0]["error"]["kind"] == "server_error"


def test_a_record_has_what_the_output_line_has_and_no_empty_fields(gallery: Gallery) -> None:
    (record,) = by_name(gallery, item("boat", quality="low", cost_usd=0.5, latency_s=1.5))["records-0"]
    assert record == {
        "id": "boat",
        "prompt": "a fox",
        "status": "ok",
        "strategy": "primary",
        "quality": "low",
        "attempts": 0,
        "cost_usd": 0.5,
        "saved_usd": 0.0,
        "latency_s": 1.5,
        "waited_s": 0.0,
        "images": [{"width": 40, "height": 30, "bytes": 9, "format": "png", "path": PICTURE.path, "embedded": 0}],
    }


def test_a_thumbnail_is_embedded_once_however_often_its_picture_was_given(gallery: Gallery) -> None:
    blocks = by_name(gallery, item("0"), item("1"), item("2"))
    assert blocks["thumbnails-0"] == [base64.b64encode(b"thumbnail").decode()]
    assert [record["images"][0]["embedded"] for record in blocks["records-0"]] == [0, 0, 0]


def test_thumbnails_beyond_the_first_are_loaded_from_beside_the_page(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EMBEDDED", 0)
    blocks = by_name(gallery, item())
    assert "thumbnails-0" not in blocks
    assert blocks["records-0"][0]["images"][0]["thumb"] == f"thumbnails/ab/{DIGEST}.webp"


def test_thumbnails_lie_in_the_block_that_their_number_says(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THUMBNAILS", 2)
    pictures = []
    for number in range(5):
        digest = f"{number:064x}"
        for path, data in ((f"images/00/{digest}.png", b"x"), (f"thumbnails/00/{digest}.webp", b"%d" % number)):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(data)
        pictures.append(attrs.evolve(PICTURE, path=f"images/00/{digest}.png"))
    blocks = by_name(gallery, item(images=tuple(pictures[:3])), item("1", images=tuple(pictures[3:])))
    numbers = [picture["embedded"] for record in blocks["records-0"] for picture in record["images"]]
    assert [base64.b64decode(blocks[f"thumbnails-{number // 2}"][number % 2]) for number in numbers] == [b"0", b"1", b"2", b"3", b"4"]


def test_pairs_are_the_hits_by_meaning_the_least_similar_first(gallery: Gallery) -> None:
    def hit(name: str, strategy: Strategy, similarity: float) -> Item:
        return item(name, "a blue fox", strategy=strategy, match=Match(of="0", similarity=similarity, prompt="a red fox"))

    blocks = by_name(
        gallery,
        item("0", "a red fox"),
        hit("1", Strategy.CACHE_VERIFIED, 0.98),
        hit("2", Strategy.CACHE_EXACT, 1.0),
        hit("3", Strategy.CACHED_SIMILAR, 0.81),
        hit("4", Strategy.CACHE_CANONICAL, 1.0),
        hit("5", Strategy.COALESCED, 0.99),
        item("6", "a red fox", strategy=Strategy.COALESCED, match=Match(of="0", similarity=1.0, prompt="a red fox")),
        hit("7", Strategy.CACHE_COSINE, 0.92),
    )
    assert blocks["index"]["pairs"] == [3, 7, 1, 5, 4]
    match = blocks["records-0"][1]["match"]
    assert (match["asked"], match["known"]) == (["a ", "blue", " fox"], ["a ", "red", " fox"])


def test_pictures_that_are_missing_are_counted_and_said(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / PICTURE.path).unlink()
    blocks = by_name(gallery, item())
    assert blocks["records-0"][0]["images"][0]["seen"] == "missing"
    assert blocks["index"]["seen"] == {"whole": 0, "missing": 1, "broken": 0}


def test_foreign_text_in_a_record_turns_nothing_round_and_shows_no_key(gallery: Gallery) -> None:
    (record,) = by_name(gallery, item("\u202eid", "a\u2028fox sk-abcdefgh12345678", key="k\u202ey"))["records-0"]
    assert (record["id"], record["prompt"], record["key"]) == ("id", "a fox ***", "k y")


def test_no_block_holds_anything_that_could_end_it(gallery: Gallery) -> None:
    evil = item("</script><!--", "</script><script>alert(1)</script>")
    for block in gallery.blocks([evil]):
        assert not set(block.data) & set("<>&'")


def test_a_prompt_without_a_result_is_in_the_gallery_too(gallery: Gallery) -> None:
    blocks = by_name(gallery, Item(number=1, name="7", prompt="a fox", status="unfinished", result=None, ended_at=None))
    assert blocks["records-0"] == [{"id": "7", "prompt": "a fox", "status": "unfinished"}]
    assert blocks["index"]["codes"] == [["unfinished", None]]
