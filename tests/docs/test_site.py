"""The site as it is built: no warning, no link that leads nowhere, and in a real browser nothing is asked of a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
REQUIRED = os.environ.get("HEADRACE_BROWSER") == "required"
"""In CI a missing browser is a failure."""
PATIENCE_MS = 15_000
PHONE, DESKTOP = 390, 1440
WIDEST = ("errors", "performance")
"""Pages with tables that are wider than a desk would have them."""
with_browser = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="there is no Chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built strictly."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    told = re.sub(r"\x1b\[[\d;]*m", "", built.stdout + built.stderr)
    assert built.returncode == 0, told.partition("Traceback")[0]
    return folder / "build" / "site"


class Links(HTMLParser):
    """What a page asks for, and what can be linked in it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.linked: set[str] = set()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.names.add(value)
            elif name in ("href", "src") and value:
                (self.linked if tag == "a" else self.asked).add(value)


@pytest.fixture(scope="module")
def links(site: Path) -> dict[Path, Links]:
    """Those of every page."""
    found = {}
    for path in site.glob("*.html"):
        found[path] = Links()
        found[path].feed(path.read_text())
    return found


def test_there_is_a_page_for_every_file(links: dict[Path, Links]) -> None:
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} == {path.stem for path in links} - {"404"}


def test_every_link_leads_somewhere(links: dict[Path, Links]) -> None:
    for page, found in links.items():
        for link in found.asked | found.linked:
            parts = urlsplit(link)
            if parts.scheme or page.stem == "404":
                continue
            target = page.parent / unquote(parts.path) if parts.path not in ("", ".") else page
            assert target.exists(), f"{page.name}: {link}"
            if parts.fragment and target in links:
                assert unquote(parts.fragment) in links[target].names, f"{page.name}: {link}"


def test_no_page_asks_for_anything_from_elsewhere(links: dict[Path, Links]) -> None:
    assert {each for found in links.values() for each in found.asked if urlsplit(each).netloc} == set()


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing on stderr."""

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A browser that goes on to the next page leaves answers where they are."""

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where a server on loopback has it."""
    with Server(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """``opened(width)``: the first page; at the end nothing was complained of, and nothing was asked of anybody else."""
    complaints: list[str] = []
    pages = []

    def open_it(width: int) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)
        page.on("request", lambda request: None if request.url.startswith((address, "data:", "blob:")) else complaints.append(request.url))
        page.goto(f"{address}/index.html")
        return page

    yield open_it
    for page in pages:
        page.close()
    assert complaints == []


@with_browser
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_no_page_is_wider_than_the_screen(opened: Callable[..., Page], address: str, site: Path, width: int) -> None:
    page = opened(width)
    for name in [path.stem for path in sorted(site.glob("*.html"))] if width == PHONE else WIDEST:
        page.goto(f"{address}/{name}.html", wait_until="domcontentloaded")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.locator("h1").count() == 1, name


@with_browser
def test_the_search_finds_a_word_and_leads_to_it(opened: Callable[..., Page]) -> None:
    page = opened(DESKTOP)
    page.get_by_role("button", name="Search").first.click()
    page.locator("input:focus").fill("moderation_blocked")
    hit = page.locator("a[href*='errors.html?h']").filter(has_text="A prompt without a picture").first
    hit.click()
    page.wait_for_url("**/errors.html?h=*")
    # The page marks the words once it has loaded.
    page.locator("mark").filter(has_text="moderation").first.wait_for()
