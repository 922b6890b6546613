from __future__ import annotations

import base64
import gzip
import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from hashlib import sha256
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from headrace import Settings, generate
from headrace.cli.reporting import report_on, reported
from headrace.errors import OutputError, UsageError
from headrace.journal.database import alone
from headrace.records import Kind, Match, Problem, Status, Strategy
from headrace.report.page import write_report
from headrace.report.roi import lines, return_of
from headrace.settings import CacheSettings, RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}<!-- $\\frac{1}{0}$ \u202e\u2028\ud800"
ELEMENTS = re.compile(
    "a|b|body|br|button|caption|d[dlt]|details|dialog|div|fig(ure|caption)|footer|form|h[123]|head|header|html|img|input|label|li|main|meta|nav|"
    "noscript|ol|p|picture|script|section|select|source|span|strong|style|summary|table|tbody|t[dhr]|thead|title|ul"
)


class Parsed(HTMLParser):
    """The elements of a page, its attributes and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.policy = ""
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "


async def all_kinds(job: Any) -> None:
    job.pool("$x$ <b>", images=60.0, scale=0.5, state=f"failing {EVIL[:40]}")
    await job.pay("a red fox", job.picture(), pool="$x$ <b>")
    await job.hit("a fox, red", Strategy.CACHE_VERIFIED, Match(of="0", similarity=0.95, prompt="a red fox"), job.picture())
    await job.fail("a bomb", Kind.MODERATION_BLOCKED, "not allowed")
    prompt = await job.read("left behind")
    await job.call(prompt, 1.0, Problem(kind=Kind.RATE_LIMITED, message="slow down", status=429), waited_s=0.5, waited_for="images/min")


async def evil(job: Any) -> None:
    job.pool(EVIL[:30], state=EVIL)
    await job.pay(EVIL, job.picture(), name="a" + EVIL[:-1], model=EVIL, quality=EVIL, key=EVIL[:50], pool=EVIL[:30])
    await job.hit(EVIL + "x", Strategy.CACHED_SIMILAR, Match(of=EVIL, similarity=0.9, prompt=EVIL + "y", difference=EVIL), job.picture())
    await job.fail(EVIL, Kind.BAD_REQUEST, EVIL, name=EVIL[:-1])
    prompt = await job.read("left behind")
    await job.call(prompt, 1.0, Problem(kind=Kind.SERVER_ERROR, message=EVIL[:-1], status=500), waited_s=0.5, waited_for=EVIL[:-1])


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take longest, and are not what every test is about."""
    monkeypatch.setattr("headrace.report.charts.draw", lambda _: {})


def data(page: str, name: str) -> Any:
    found = re.search(f'id="data-{name}">([^<]*)<', page)
    assert found
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def test_a_report_tells_what_a_run_came_to(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(all_kinds)
    path = write_report(folder)
    page = path.read_text("utf-8")
    words = " ".join(Parsed(page).words.split())
    assert path == folder / "report.html"
    assert path.stat().st_mode & 0o777 == 0o600
    for said in (
        "2 of 4 prompts, 50%",
        "Interrupted. The job did not come to its end: 1 of the prompts that were read have no result yet",
        "60 images/min \N{MULTIPLICATION SIGN} 50%",
        "moderation blocked 1",
        "Cache: same meaning 1 1 $0.2500",
        "1 prompt was given the picture of a prompt in other words",
    ):
        assert said in words
    assert "Simulated." not in words
    assert len(list((folder / "thumbnails").rglob("*.webp"))) == 1
    assert not list(folder.glob(".*"))


def test_only_the_styles_and_the_script_of_the_page_may_run(folder_of: Callable[..., Path]) -> None:
    page = write_report(folder_of(all_kinds)).read_text("utf-8")
    policy = dict(part.strip().split(" ", 1) for part in Parsed(page).policy.split(";"))
    for name, tag in (("style-src", "<style>"), ("script-src", "<script>")):
        text = page.split(tag)[1].split(tag.replace("<", "</"))[0]
        assert policy[name] == f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["img-src"] == "data: 'self' file:"


@pytest.mark.parametrize("run", [all_kinds, evil])
def test_foreign_text_makes_no_element_no_attribute_and_no_template(folder_of: Callable[..., Path], run: Any) -> None:
    parsed = Parsed(write_report(folder_of(run)).read_text("utf-8"))
    assert [element for element in parsed.elements if not ELEMENTS.fullmatch(element)] == []
    assert not [name for name, _ in parsed.attributes if name.startswith("on") or name == "style"]
    links = [value for name, value in parsed.attributes if name in {"src", "href", "srcset"}]
    assert all(value and value.startswith(("#", "data:image/svg+xml;base64,")) for value in links)
    assert "{{ 7 * 7 }}" in parsed.words or run is all_kinds
    assert not set(parsed.words) & set("\u202e\u2028")


def test_a_report_is_the_same_when_it_is_made_again(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(all_kinds)
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_the_pictures_of_every_prompt_have_thumbnails_before_the_page_is_written(
    folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(job: Any) -> None:
        for colour in ("red", "green", "blue", "white", "black"):
            await job.pay(colour, job.picture(colour))

    monkeypatch.setattr("headrace.report.page._AT_ONCE", 2)
    told: list[int] = []
    folder = folder_of(run)
    write_report(folder, told=told.append)
    assert told[-1] == 5
    assert len(list((folder / "thumbnails").rglob("*.webp"))) == 5


@pytest.mark.usefixtures("undrawn")
def test_a_page_elsewhere_knows_the_way_to_the_pictures(folder_of: Callable[..., Path], tmp_path: Path) -> None:
    folder = folder_of(all_kinds, name="a job #1")
    assert data(write_report(folder).read_text("utf-8"), "config")["root"] == "./"
    (tmp_path / "pages").mkdir()
    page = write_report(folder, tmp_path / "pages" / "one.html").read_text("utf-8")
    assert data(page, "config")["root"] == "../a%20job%20%231/"
    bytes_ = folder.rename(folder.with_name(os.fsdecode(b"a\xffb:c")))
    assert data(write_report(bytes_, tmp_path / "one.html").read_text("utf-8"), "config")["root"] == "a%FFb%3Ac/"


@pytest.mark.usefixtures("undrawn")
def test_a_link_in_the_place_of_the_page_is_replaced_and_a_device_is_not(folder_of: Callable[..., Path], tmp_path: Path) -> None:
    folder = folder_of(all_kinds)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "notes.html").write_text("notes")
    link = tmp_path / "page.html"
    link.symlink_to("elsewhere/notes.html")
    assert data(write_report(folder, link).read_text("utf-8"), "config")["root"] == "job/"
    assert (tmp_path / "elsewhere" / "notes.html").read_text() == "notes"
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "-"):
        with pytest.raises(UsageError, match="cannot be the report"):
            write_report(folder, tmp_path / name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_written_page(folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    folder, before = folder_of(all_kinds), signal.getsignal(number)
    monkeypatch.setattr("headrace.report.charts.draw", lambda _: signal.raise_signal(number))
    with pytest.raises(SystemExit) as ended:
        report_on(folder)
    assert (ended.value.code, signal.getsignal(number)) == (128 + number, before)
    assert [path.name for path in folder.iterdir() if path.name.endswith((".part", ".html"))] == []
    with reported(folder):
        pass


def test_names_that_xml_cannot_hold_leave_the_charts_whole(folder_of: Callable[..., Path]) -> None:
    async def run(job: Any) -> None:
        await job.pay("a fox", job.picture(), model="m\uffff\ufffe\x0b", quality="\ud800<&")

    page = write_report(folder_of(run)).read_text("utf-8")
    charts = re.findall(r'data:image/svg\+xml;base64,([^"]+)', page)
    assert charts
    assert not any(re.search("[\x0b\ufffe\uffff]", base64.b64decode(chart).decode()) for chart in charts)


def test_money_of_the_simulator_is_told_from_money_that_was_paid(folder_of: Callable[..., Path]) -> None:
    async def play(job: Any) -> None:
        await job.pay("a fox", job.picture(), cost_usd=0.25)

    async def real(job: Any) -> None:
        await job.pay("a heron", job.picture("blue"), cost_usd=0.5)

    folder_of(play, simulated=True)
    folder = folder_of(real)
    words = Parsed(write_report(folder).read_text("utf-8")).words
    assert "Partly simulated. 1 of 2 calls went to the simulator: $0.2500 of the cost was not paid." in " ".join(words.split())
    assert "USD (partly simulated)" in " ".join(words.split())
    assert next(lines(return_of(folder, None, 0.0), "job")).endswith("not all of it was paid")


@pytest.mark.usefixtures("undrawn")
def test_a_run_at_work_can_be_looked_at(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(all_kinds)
    with alone(folder):
        page = write_report(folder).read_text("utf-8")
    assert "At work." in page
    assert "Interrupted." not in page


def test_a_run_whose_settings_cannot_be_read_has_a_page(folder_of: Callable[..., Path]) -> None:
    folder = folder_of(all_kinds)
    for settings, books in (("{", "["), ('{"model": 7}', '[{"name": "$x$ <b>", "known": [{"limit": "x"}, {"limit": 3}], "bound": 7}]')):
        with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
            db.execute("update run set settings = ?, books = ?", (settings, books))
            db.execute("update limit_seen set books = ?", ('{"known": [{"limit": 1e400, "scale": "x"}, {}, {"limit": 3, "scale": 0.5}]}',))
            db.commit()
        assert "2 of 4 prompts" in " ".join(Parsed(write_report(folder).read_text("utf-8")).words.split())


def test_an_empty_journal_has_a_page(folder_of: Callable[..., Path]) -> None:
    async def run(_: Any) -> None:
        pass

    words = Parsed(write_report(folder_of(run)).read_text("utf-8")).words
    assert "No call was made" in words
    assert "No picture was made." in words


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal", "journal.lock", "images"])
def test_a_report_takes_the_place_of_nothing_that_a_run_needs(folder_of: Callable[..., Path], name: str) -> None:
    folder = folder_of(all_kinds)
    with pytest.raises(UsageError, match=r"cannot be the report; name a file such as report\.html"):
        write_report(folder, folder / name)


@pytest.mark.usefixtures("undrawn")
def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(folder_of: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(folder_of(all_kinds), tmp_path / "nowhere" / "report.html")


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_fails_half_way_leaves_the_one_before(folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(all_kinds)
    before = write_report(folder).read_bytes()
    monkeypatch.setattr("headrace.report.gallery.Gallery._index", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before
    assert not list(folder.glob(".*"))


@pytest.mark.usefixtures("undrawn")
def test_a_real_run_has_a_report(tmp_path: Path) -> None:
    settings = Settings(
        run=RunSettings(simulate=True, journal=True, out_dir=str(tmp_path / "out")),
        cache=CacheSettings(dir=str(tmp_path / "cache"), policy="canonical"),
    )
    results = list(generate(["a fox", "a fox", "a bomb [[fault:moderation_blocked]]"], settings))
    assert [result.status for result in results].count(Status.OK) == 2
    page = write_report(tmp_path / "out").read_text("utf-8")
    words = " ".join(Parsed(page).words.split())
    assert "2 of 3 prompts, 66.7%" in words
    assert "Simulated. Calls went to the simulator" in words
    assert "images/min (settings)" in words
    assert [record["status"] for record in data(page, "records-0")] == ["ok", "ok", "failed"]
