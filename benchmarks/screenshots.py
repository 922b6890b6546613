"""The pictures of the report in docs/report: the example prompts, some in other words, through the simulator; its report in Chromium.

    python benchmarks/screenshots.py [--folder DIR]

Takes a minute, for the demo's limits are real minutes. Needs Chromium on the PATH.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from PIL import Image
from playwright.sync_api import sync_playwright

from headrace.assembly import open_race
from headrace.report.page import write_report
from headrace.settings import CacheSettings, KeySettings, PoolSettings, RequestSettings, RunSettings, Settings
from headrace.simulator import SimulatedPool, SimulatorSettings, World, make_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs" / "report"
MOST_BYTES = 250_000
"""Of a picture in all its colours; a larger one has to do with 256."""
OTHER_WORDS = (
    "a paper boat that crosses a puddle in which a whole city is mirrored",
    "gouache of a lighthouse keeper who paints the horizon",
    "bright autumn light, three kites tangled in a birch",
    "in the rain, an old tram is climbing a hill",
    "studio photograph of a teapot in the shape of a sleeping fox",
    "at dawn, a violin made of ice on a frozen lake",
    "two herons that share one umbrella",
    "macro photograph of a clockwork beetle on a green leaf",
    "on a ferry, an accordion player, charcoal sketch",
    "a small robot that waters tomatoes on a balcony",
    "a bicycle that leans on a blue door",
    "under a street lamp, a choir of frogs",
    "at dusk, a carousel in a forest clearing",
    "an astronaut who repairs a weathervane",
    "a pianist in a ballroom that is flooded",
    "sheep use a sleeping dragon as a hill",
    "seen from a kitchen window, a comet",
    "a heron and a fox at a tea table",
    "a hare that reads a newspaper, linocut in two colours",
    "a lemon-yellow bicycle leaning on a blue door",
    "three herons sharing one umbrella",
)
FAULTS = ("server_error*1", "server_error*2", "overloaded*1", "moderation_blocked", "truncated_png*1")


def prompts() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The examples, some of them in several qualities; and for a second line the same in other words, and some that fail."""
    examples = [json.loads(line) for line in (ROOT / "examples" / "prompts.jsonl").read_text("utf-8").splitlines()]
    examples = [{"prompt": each} if isinstance(each, str) else each for each in examples]
    plain = [each["prompt"] for each in examples if set(each) == {"prompt"}]
    prints = [
        {"prompt": each, "quality": ("medium", "high")[number % 3 == 0], "id": f"print-{number}"} for number, each in enumerate(plain)
    ]
    reworded = [{"prompt": words, "id": f"reworded-{number}"} for number, words in enumerate(OTHER_WORDS)]
    polite = [{"prompt": f"Please draw {words}!", "id": f"polite-{number}"} for number, words in enumerate(plain[::4])]
    faults = [
        {"prompt": f"a kite over a harbour, number {number} [[fault:{each}]]", "id": f"fault-{number}"}
        for number, each in enumerate(FAULTS)
    ]
    return [*examples, *prints], [*reworded, *polite, *faults]


async def run(folder: Path) -> None:
    """Run them through the simulator, whose second organisation lets in less than the settings say."""
    pools = (PoolSettings(name="studio", images_per_minute=120, max_concurrency=12), PoolSettings(name="agency", images_per_minute=90))
    keys = (
        KeySettings(name="studio-a", pool="studio", env="STUDIO_A"),
        KeySettings(name="studio-b", pool="studio", env="STUDIO_B"),
        KeySettings(name="agency-a", pool="agency", env="AGENCY_A"),
    )
    settings = Settings(
        request=RequestSettings(quality="low"),
        pool=pools,
        key=keys,
        cache=CacheSettings(dir=str(folder / "cache")),
        run=RunSettings(simulate=True, journal=True, out_dir=str(folder)),
    )
    theirs = (
        SimulatedPool(
            name="studio", keys=("sk-sim-primary-studio-a", "sk-sim-primary-studio-b"), images_per_minute=120, max_concurrency=12
        ),
        SimulatedPool(name="agency", keys=("sk-sim-primary-agency-a",), images_per_minute=60, max_concurrency=None, burst_s=2.0),
    )
    app = make_app(World(SimulatorSettings(pools=theirs, time_scale=0.3)))
    async with open_race(settings, app=app) as race:
        for some in prompts():
            async with race.results(some) as results:
                async for _ in results:
                    pass


def take(page: Path, target: Path) -> None:
    """Take the pictures of a report into a folder."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    target.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shot(browser, page, target / "desktop.png", (1440, 1640), "light", None)
        shot(browser, page, target / "phone.png", (390, 1410), "dark", None)
        shot(browser, page, target / "pairs.png", (1440, 1000), "light", "#pairs")
        browser.close()


def shot(browser: Browser, page: Path, target: Path, size: tuple[int, int], scheme: Any, what: str | None) -> None:
    """One picture: of what a window of that size shows, or of one part of the page."""
    width, height = size
    window = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    window.goto(page.absolute().as_uri())
    window.wait_for_selector(".card img")
    window.wait_for_load_state("networkidle")
    if what is None:
        window.screenshot(path=target)
    else:
        window.locator(what).screenshot(path=target)
    window.close()
    with Image.open(target) as image:
        image.convert("RGB").save(target, optimize=True)
        if target.stat().st_size > MOST_BYTES:
            image.convert("RGB").quantize(256).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")


def main() -> None:
    """Make the run, where the folder has none yet, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the run goes, or is already; a temporary one where absent")
    parser.add_argument("--to", type=Path, default=DOCS, help="where the pictures go")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch) / "autumn campaign"
        if not (folder / "journal.sqlite").exists():
            folder.mkdir(parents=True, exist_ok=True)
            trio.run(run, folder)
        take(write_report(folder), asked.to)


if __name__ == "__main__":
    main()
