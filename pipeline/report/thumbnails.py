"""Small pictures for the gallery: made once, kept beside the pictures by their SHA-256."""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from headrace.files import place, write_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from headrace.records import Picture

FOLDER = "thumbnails"
EDGE = 224
"""Pixels of the longer edge: enough for a card of a phone with two pixels a point."""
_QUALITY = 60
_MOST_PIXELS = 40_000_000
"""More than twice the largest picture that a model makes: 160 MB when it is unpacked."""
_MOST_BYTES = 1_000_000
"""More than any thumbnail has."""
_PATH = re.compile(r"images/([0-9a-f]{2})/(\1[0-9a-f]{62})\.[a-z]{3,4}")
_FORMATS = ("PNG", "JPEG", "WEBP")
_THREADS = max(2, min(8, os.cpu_count() or 2))
_AHEAD = 4 * _THREADS


class Seen(StrEnum):
    """How a picture was found."""

    WHOLE = "whole"
    MISSING = "missing"
    BROKEN = "broken"


class Thumbnails:
    """The thumbnails of an output folder.

    Args:
        root: the output folder.

    Raises:
        OutputError: where one cannot be written, from every method but :meth:`path`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, picture: Picture) -> str | None:
        """Where the thumbnail is, or would be, relative to the output folder; None where the picture's path is none that a run writes."""
        found = _PATH.fullmatch(picture.path)
        return found and f"{FOLDER}/{found[1]}/{found[2]}.webp"

    def prepare(self, pictures: Iterable[Picture], told: Callable[[int], None]) -> None:
        """Make those that are missing, some at a time; ``told`` hears how many have been looked at."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="thumbnails") as threads:
            ahead: deque[Future[Seen]] = deque()
            done = 0
            try:
                for picture in pictures:
                    ahead.append(threads.submit(self.find, picture))
                    if len(ahead) > _AHEAD:
                        ahead.popleft().result()
                        done += 1
                        told(done)
                for future in ahead:
                    future.result()
                told(done + len(ahead))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def find(self, picture: Picture) -> Seen:
        """See that the thumbnail of a picture is there."""
        path = self.path(picture)
        if path is None:
            return Seen.MISSING
        target = self._root / path
        there = (self._root / picture.path).is_file()
        if not there or _made(target):
            return Seen.WHOLE if there else Seen.MISSING
        data = _small(self._root / picture.path)
        if data is None:
            return Seen.BROKEN
        place([write_part(target, data)], durable=False)
        return Seen.WHOLE

    def read(self, picture: Picture) -> bytes | None:
        """The thumbnail's file; None where there is none."""
        path = self.path(picture)
        try:
            if path is None or not _made(self._root / path):
                return None
            return (self._root / path).read_bytes()
        except OSError:
            return None


def _made(path: Path) -> bool:
    """Whether a thumbnail is there: no link to somebody's file, which would come into the page, and not what a power cut left of it."""
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and 0 < about.st_size < _MOST_BYTES


def _small(path: Path) -> bytes | None:
    """The thumbnail of a picture file; None where it is none, or one that no model makes."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            image = Image.open(file, formats=_FORMATS)
            if image.width * image.height > _MOST_PIXELS:
                return None
            image.draft("RGB", (EDGE, EDGE))
            image.thumbnail((EDGE, EDGE), Image.Resampling.BILINEAR, reducing_gap=2.0)
            shown = image.convert("RGBA" if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info else "RGB")
            small = BytesIO()
            shown.save(small, "WEBP", quality=_QUALITY, method=2)
            return small.getvalue()
    except Exception:  # noqa: BLE001 - Pillow raises almost anything for a file that is not what it says
        return None
