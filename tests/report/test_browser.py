"""The report in a real browser: nothing is asked of a network, nothing foreign comes alive, and the gallery works."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from headrace.records import Kind, Match, Problem, Strategy
from headrace.report import gallery
from headrace.report.page import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = os.environ.get("HEADRACE_BROWSER") == "required"
"""In CI a missing browser is a failure."""
PATIENCE_MS = 15_000
pytestmark = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="there is no Chromium")

EVIL = (
    "<script>window.struck = 1</script>",
    "</script><script>window.struck = 1</script>",
    "</style><script>window.struck = 1</script>",
    "<!-- <script>",
    "--><img src=x onerror='window.struck = 1'>",
    "<img src=x onerror=window.struck=1>",
    "<svg onload=window.struck=1>",
    "<iframe srcdoc='<script>parent.struck=1</script>'>",
    "<a href='javascript:window.struck=1'>x</a>",
    "javascript:window.struck=1",
    "\"' onmouseover=window.struck=1 x='",
    "{{ 7 * 7 }}{% for x in y %}${7*7}#{7*7}",
    "\u2028window.struck = 1\u2029",
    "\u202egnp.egami\u202c\u2066x",
    "<base href='https://example.com/'><meta http-equiv=refresh content=0;url=https://example.com/>",
    "<form action=https://example.com/><button>x</button></form>",
    "&lt;b&gt;&amp;&#x3C;script&#x3E;",
    "$\\alpha$ <![CDATA[ ]]> <?xml ?>",
)


async def evil(job: Any) -> None:
    """Every field that comes from elsewhere holds something that wants to come alive."""
    for number, text in enumerate(EVIL):
        safe = f"{number} {text}"
        job.pool(safe, state=text)
        await job.pay(safe, job.picture(), name=safe, model=text, quality=text, key=text, pool=safe)
        await job.hit(
            f"{text} too",
            Strategy.CACHE_VERIFIED,
            Match(of=text, similarity=0.9, prompt=safe, difference=text),
            job.picture(),
            name=f"hit {number}",
        )
        await job.fail(f"{text} {text}", Kind.BAD_REQUEST, text, name=f"failed {text}")
        prompt = await job.read(f"left {number}")
        await job.call(
            prompt, 1.0, Problem(kind=Kind.SERVER_ERROR, message=text, status=500), waited_s=0.5, waited_for=text, key=text, pool=safe
        )


async def many(job: Any) -> None:
    """90 prompts that were made, 14 hits by meaning, a failure, a picture that is gone and one that is broken."""
    pictures = [job.picture(colour) for colour in ("red", "green", "blue", "white")]
    for number in range(90):
        await job.pay(f"fox number {number}", pictures[number % 4])
    for number in range(14):
        match = Match(of=str(number), similarity=0.9 + number / 1_000, prompt=f"fox number {number}")
        await job.hit(f"the fox with number {number}", Strategy.CACHE_VERIFIED, match, pictures[number % 4])
    await job.fail("a bomb", Kind.MODERATION_BLOCKED, "not allowed")
    gone, broken = job.picture("black"), job.file(b"no picture")
    await job.pay("a picture that is gone", gone, broken)
    await job.pay("a picture that is broken", broken)
    (job.root / gone.path).unlink()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """``opened(report)``: the page once its gallery is there; at the end nothing was complained of, and nothing asked of a network."""
    complaints: list[str] = []
    pages = []

    def open_it(path: Path, width: int = 1_280, scheme: Any = "light") -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(PATIENCE_MS)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        folder = path.parent.as_uri()
        page.on("request", lambda request: None if request.url.startswith((folder, "data:")) else complaints.append(request.url))
        page.goto(path.as_uri())
        page.locator("#cards .card").first.wait_for()
        return page

    yield open_it
    for page in pages:
        page.close()
    assert complaints == []


@pytest.fixture(scope="module")
def reports() -> dict[str, Path]:
    """What was made already."""
    return {}


@pytest.fixture
def report(reports: dict[str, Path], folder_of: Callable[..., Path]) -> Callable[[Any], Path]:
    """``report(run)``: the page about that run, made once."""

    def made(run: Any) -> Path:
        if run.__name__ not in reports:
            reports[run.__name__] = write_report(folder_of(run))
        return reports[run.__name__]

    return made


def cards(page: Page) -> list[str]:
    return page.locator("#cards .words").all_inner_texts()


def test_the_gallery_has_pages_with_a_thumbnail_on_each_card(opened: Callable[..., Page], report: Callable[[Any], Path]) -> None:
    page = opened(report(many))
    assert page.locator("#found").inner_text() == "107 prompts"
    assert cards(page)[0] == "fox number 0"
    assert len(cards(page)) == 48
    page.evaluate("Promise.all([...document.querySelectorAll('#cards img')].map((image) => image.decode()))")
    pager = page.locator("#pager")
    assert pager.get_by_role("button", name="Previous page").is_disabled()
    pager.get_by_role("button", name="Next page").click()
    page.get_by_text("fox number 48", exact=True).wait_for()
    pager.get_by_role("spinbutton").fill("3")
    pager.get_by_role("spinbutton").press("Enter")
    page.get_by_text("a picture that is gone").wait_for()
    assert "of 3" in pager.inner_text()
    assert pager.get_by_role("button", name="Next page").is_disabled()


def test_the_gallery_is_filtered_by_status_by_strategy_and_by_words(opened: Callable[..., Page], report: Callable[[Any], Path]) -> None:
    page = opened(report(many))
    assert page.get_by_label("Status").locator("option").all_inner_texts() == ["All (107)", "Answered (106)", "Failed (1)"]
    page.get_by_label("Status").select_option("failed")
    page.get_by_text("1 of 107 prompts").wait_for()
    assert cards(page) == ["a bomb"]
    page.get_by_label("Status").select_option("")
    page.get_by_label("Given by").select_option("cache_verified")
    page.get_by_text("14 of 107 prompts").wait_for()
    page.get_by_label("Words").fill("NUMBER 11")
    page.get_by_text("1 of 107 prompts").wait_for()
    assert cards(page) == ["the fox with number 11"]
    page.get_by_label("Words").fill("no such words")
    page.get_by_text("0 of 107 prompts").wait_for()
    assert cards(page) == []


def test_a_click_shows_the_full_picture_and_its_record_and_keys_go_on(opened: Callable[..., Page], report: Callable[[Any], Path]) -> None:
    page = opened(report(many))
    first = page.get_by_role("button", name="fox number 0 Made")
    first.click()
    record = page.get_by_role("dialog")
    assert record.get_by_role("heading").inner_text() == "fox number 0"
    assert "$0.250000" in record.inner_text()
    picture = record.locator("#record-pictures img")
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 40
    assert "/images/" in (picture.get_attribute("src") or "")
    page.keyboard.press("ArrowRight")
    record.get_by_role("heading", name="fox number 1").wait_for()
    page.keyboard.press("Escape")
    assert not record.is_visible()
    assert page.evaluate("document.activeElement.dataset.number") == "0"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.number") == "1"


def test_a_picture_that_is_gone_or_broken_is_shown_as_such(opened: Callable[..., Page], report: Callable[[Any], Path]) -> None:
    page = opened(report(many))
    page.get_by_label("Words").fill("a picture that is")
    page.get_by_text("2 of 107 prompts").wait_for()
    assert page.locator("#cards .none").all_inner_texts() == ["The picture is missing", "The picture cannot be read"]
    page.get_by_text("a picture that is gone").click()
    assert page.locator("#record-pictures .none").all_inner_texts() == ["The picture is missing", "The picture cannot be read"]


def test_pairs_are_shown_side_by_side_with_their_words_marked(opened: Callable[..., Page], report: Callable[[Any], Path]) -> None:
    page = opened(report(many))
    pair = page.locator(".pair").first
    assert pair.locator(".side").all_inner_texts() == ["Asked for\nthe fox with number 0", "Picture made for\nfox number 0"]
    assert pair.locator("mark").all_inner_texts() == ["the", "with"]
    assert "similarity 0.90" in pair.inner_text()
    page.locator("#pair-pager").get_by_role("button", name="Next page").click()
    page.get_by_text("the fox with number 6").first.wait_for()


def test_thumbnails_that_are_not_in_the_page_come_from_beside_it(
    opened: Callable[..., Page], folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "EMBEDDED", 0)

    async def one(job: Any) -> None:
        await job.pay("a fox", job.picture())

    page = opened(write_report(folder_of(one)))
    shown = page.locator("#cards img")
    shown.scroll_into_view_if_needed()
    assert shown.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 40
    assert "/thumbnails/" in (shown.get_attribute("src") or "")


def test_nothing_foreign_comes_alive(opened: Callable[..., Page], report: Callable[[Any], Path]) -> None:
    page = opened(report(evil))
    for number in range(0, 72, 9):
        page.evaluate("(number) => showRecord(number)", number)
    page.locator("#close").click()
    for label, choice in (("Status", "failed"), ("Given by", "cache_verified")):
        page.get_by_label(label).select_option(choice)
        page.get_by_label(label).select_option("")
    page.evaluate("Promise.all([...document.querySelectorAll('img.chart')].map((image) => image.decode()))")
    assert page.evaluate("window.struck") is None
    assert page.locator("iframe, object, embed, base, svg, [onerror], [onload], [onmouseover], [style]").count() == 0
    assert page.locator("script:not([type])").count() == 1
    links = page.evaluate("[...document.querySelectorAll('[href], [src]')].map((each) => each.href ?? each.src)")
    assert all(link.startswith(("file:", "data:image/")) for link in links)
    assert "\u202e" not in page.content()
    words = " ".join(cards(page))
    assert "<script>window.struck = 1</script>" in words
    assert "{{ 7 * 7 }}" in words


@pytest.mark.parametrize("run", [many, evil])
def test_a_phone_scrolls_in_one_direction(opened: Callable[..., Page], report: Callable[[Any], Path], run: Any) -> None:
    page = opened(report(run), width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_it_is_dark_where_the_reader_likes_it_dark(opened: Callable[..., Page], report: Callable[[Any], Path]) -> None:
    shown = {}
    for scheme in ("light", "dark"):
        page = opened(report(many), scheme=scheme)
        colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        chart = page.locator("img.chart").first.evaluate("(image) => [image.currentSrc, image.naturalWidth]")
        shown[scheme] = (*colours, chart[0])
        assert chart[1] > 0
        brightness = [sum(int(part) for part in colour.strip("rgb()").split(",")) for colour in colours]
        assert (brightness[0] > brightness[1]) == (scheme == "light")
    assert shown["light"][2] != shown["dark"][2]
