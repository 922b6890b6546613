"""The card that a simulated picture shows: two colours, shapes, the prompt in large letters, what made it below."""

from __future__ import annotations

import random
from functools import cache, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

from headrace.sizes import parse_size

if TYPE_CHECKING:
    from headrace.records import Request

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MAX_CHARACTERS = 600
_LEADING = 1.28
# Height of the letters as a share of the shorter edge, and the most lines that look well at it.
_LETTERS = ((0.075, 7), (0.06, 7), (0.048, 7), (0.038, 40), (0.03, 40), (0.022, 40))
_ROOM_FOR_MARK = 400
_WHITE: Colour = (255, 255, 255)
# Light, deep, accent.
_PALETTES: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((245, 135, 100), (88, 28, 92), (255, 214, 140)),
    ((64, 170, 195), (16, 42, 92), (190, 240, 230)),
    ((100, 170, 125), (14, 52, 56), (240, 232, 160)),
    ((165, 135, 225), (48, 30, 100), (255, 185, 205)),
    ((235, 115, 70), (90, 20, 44), (255, 212, 125)),
    ((75, 115, 195), (18, 18, 58), (150, 205, 255)),
    ((230, 125, 148), (92, 26, 70), (255, 222, 200)),
    ((50, 155, 148), (10, 44, 66), (205, 240, 185)),
    ((215, 168, 112), (100, 54, 48), (255, 240, 212)),
    ((185, 80, 150), (50, 20, 80), (255, 175, 180)),
    ((125, 145, 172), (34, 42, 62), (235, 214, 190)),
    ((150, 165, 88), (38, 58, 42), (250, 236, 172)),
)


def draw_card(request: Request, index: int) -> Image.Image:
    """The picture of that request; ``index`` tells several pictures of one request apart."""
    text = "\0".join([str(index), request.prompt, *(upload.sha256 for upload in request.uploads)]).encode("utf-8", "surrogatepass")
    # A picture's colours are no secret.
    rng = random.Random(int.from_bytes(blake2b(text, digest_size=8).digest()))  # noqa: S311
    size = parse_size(request.size)
    light, deep, accent = rng.choice(_PALETTES)
    image = _background(size, light, deep, accent, rng)
    _shapes(image, accent, rng)
    _write(image, request, _mixed(deep, _WHITE, 0.72))
    if request.background == "transparent":
        image.putalpha(_rounded(size))
    return image


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _background(size: tuple[int, int], light: Colour, deep: Colour, accent: Colour, rng: random.Random) -> Image.Image:
    """Two colours and a glow, dark enough below for white letters; soft, so it is made small and enlarged."""
    ramp = Image.linear_gradient("L").rotate(rng.uniform(-40, 40), Image.Resampling.BILINEAR)
    # The middle of the turned ramp, where no corner is missing.
    small = ImageOps.colorize(ImageOps.autocontrast(ramp.crop((48, 48, 208, 208))), light, deep)
    glow = _blot("glow", round(small.width * rng.uniform(1.0, 1.5)), 165)
    _stamp(small, glow, (rng.uniform(0.35, 1) * small.width, rng.uniform(0, 0.4) * small.height), accent)
    shade = Image.linear_gradient("L").resize(small.size).point([value * 3 // 5 for value in range(256)])
    small.paste(_mixed(deep, (0, 0, 0), 0.45), (0, 0), shade)
    return small.resize(size, Image.Resampling.BICUBIC)


def _shapes(image: Image.Image, accent: Colour, rng: random.Random) -> None:
    width, height = image.size
    edge = min(width, height)
    for _ in range(rng.randint(3, 5)):
        kind = rng.choice(("disc", "disc", "ring"))
        across = max(1, round(edge * rng.uniform(0.08, 0.4)))
        at = (rng.uniform(0.1, 1) * width, rng.uniform(0, 0.5) * height)
        _stamp(image, _blot(kind, across, rng.randint(25, 70)), at, rng.choice((accent, _WHITE)))


def _stamp(image: Image.Image, mask: Image.Image, centre: tuple[float, float], colour: Colour) -> None:
    left = round(centre[0] - mask.width / 2)
    top = round(centre[1] - mask.height / 2)
    image.paste(colour, (left, top, left + mask.width, top + mask.height), mask)


def _blot(kind: str, across: int, strength: int) -> Image.Image:
    """A mask of that shape; shrunk from a large one, which smooths its edge."""
    shape = _shape(kind).resize((across, across), Image.Resampling.BILINEAR)
    return shape.point([value * strength // 255 for value in range(256)])


@cache
def _shape(kind: str) -> Image.Image:
    if kind == "glow":
        return ImageChops.invert(Image.radial_gradient("L")).point([max(0, 2 * v - 255) for v in range(256)])
    edge = 1024
    shape = Image.new("L", (edge, edge))
    draw = ImageDraw.Draw(shape)
    if kind == "disc":
        draw.ellipse((2, 2, edge - 2, edge - 2), fill=255)
    else:
        draw.ellipse((2, 2, edge - 2, edge - 2), outline=255, width=edge // 14)
    return shape.resize((512, 512), Image.Resampling.BOX)


def _write(image: Image.Image, request: Request, faint: Colour) -> None:
    width, height = image.size
    edge = min(width, height)
    margin = round(edge * 0.08)
    small = _font(max(10, round(edge * 0.022)))
    footer_top = height - margin - small.getbbox("Ag")[3]
    font, lines = _fitting(_printable(request.prompt), width - 2 * margin, round(footer_top - 2 * margin), edge)
    step = font.getbbox("Ag")[3] * _LEADING
    top = footer_top - margin * 0.8 - step * len(lines)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((margin, top + number * step), line, _WHITE, font)
    rule = footer_top - margin * 0.42
    draw.line((margin, rule, width - margin, rule), faint, max(1, round(edge / 1000)))
    draw.text((margin, footer_top), f"{request.model}   {request.size}   {request.quality}", faint, small)
    if edge >= _ROOM_FOR_MARK:
        draw.text((width - margin - small.getlength("simulated"), footer_top), "simulated", faint, small)


def _printable(prompt: str) -> str:
    """The prompt on one line, cut, without what a font cannot be asked for."""
    text = " ".join(prompt[: 2 * _MAX_CHARACTERS].split()).encode("utf-8", "replace").decode()
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _fitting(text: str, width: int, height: int, edge: int) -> tuple[Font, list[str]]:
    """The largest of a few letter sizes in which the text has room, and its lines; what has none is left out."""
    font, lines, room = _font(10), [text], 1
    for share, most in _LETTERS:
        font = _font(max(10, round(edge * share)))
        room = min(most, max(1, int(height / (font.getbbox("Ag")[3] * _LEADING))))
        if font.getlength(text) > width * room:
            continue
        lines = _wrapped(text, font, width)
        if len(lines) <= room:
            return font, lines
    return font, _wrapped(text, font, width)[:room]


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    lines: list[str] = []
    line, length = "", 0.0
    space = font.getlength(" ")
    for word in text.split(" "):
        # Measured by the word: a line at a time would measure each word again and again.
        own = font.getlength(word)
        if line and length + space + own <= width:
            line, length = f"{line} {word}", length + space + own
            continue
        if line:
            lines.append(line)
        *broken, line = _broken(word, font, width) if own > width else [word]
        lines += broken
        length = font.getlength(line) if broken else own
    return [*lines, line]


def _broken(word: str, font: Font, width: float) -> list[str]:
    """Scripts without spaces, and long words, break where they have to."""
    parts = [""]
    for character in word:
        if parts[-1] and font.getlength(parts[-1] + character) > width:
            parts.append("")
        parts[-1] += character
    return parts


@lru_cache(maxsize=16)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


@lru_cache(maxsize=4)
def _rounded(size: tuple[int, int]) -> Image.Image:
    width, height = size
    inset = round(min(size) * 0.02)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle((inset, inset, width - inset, height - inset), round(min(size) * 0.07), fill=255)
    return mask
