"""What each model can do and what it costs; the data and its sources are in ``models.toml``."""

from __future__ import annotations

import math
import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import attrs

from headrace.errors import UsageError
from headrace.sizes import allowed, distance, given_size, nearest_allowed, orientation, parse_size, smallest_allowed
from headrace.tokens import patch_tokens, tile_tokens
from headrace.validators import closest, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from headrace.records import Request

AUTO = "auto"
MAX_PROMPT_CHARACTERS = 32_000
MAX_N = 10
STANDARD_SIZES = ("1024x1024", "1024x1536", "1536x1024")
"""What every model can make."""
_RANKS = {"low": 0, "medium": 1, "standard": 1, "high": 2, "hd": 2, "xhigh": 3, "max": 4}  # standard and hd: of older models


@attrs.frozen(kw_only=True)
class Limits:
    """Limits a minute, and how many calls at once; None is no limit."""

    images_per_minute: float | None = None
    tokens_per_minute: float | None = None
    requests_per_minute: float | None = None
    max_concurrency: int | None = None


@attrs.frozen(kw_only=True)
class Model:
    """One model: what it accepts, how many tokens a picture takes, what a token costs."""

    name: str
    known: bool = True
    """False for a name that is not in the table: it is passed on as it is, and nothing is checked."""
    qualities: tuple[str, ...] = ()
    """Lowest first."""
    formats: tuple[str, ...] = ()
    bases: Mapping[str, int] = attrs.field(factory=dict, repr=False)
    """Per quality, the base of the token formula; empty where ``table`` holds published numbers."""
    table: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict, repr=False)
    """Output tokens by size and quality."""
    text_in_usd: float | None = None
    """USD per million text tokens in."""
    image_in_usd: float | None = None
    """USD per million image tokens in; those of pictures that are edited."""
    image_out_usd: float | None = None
    """USD per million image tokens out."""
    shutdown: date | None = None
    successor: str | None = None

    def retired(self, today: date) -> bool:
        """Whether the vendor has shut the model down by ``today``."""
        return self.shutdown is not None and self.shutdown <= today

    def refuse_retired(self, today: date) -> None:
        """Nothing for a model that lives.

        Raises:
            UsageError: it was shut down; the message names its successor.
        """
        if self.retired(today):
            raise UsageError(f"model {self.name} was shut down on {self.shutdown}; set model = {self.successor!r}")

    def problem(self, request: Request) -> str | None:
        """What the model cannot do of ``request``, in one line with the nearest thing that it can; None where it can all of it."""
        if not 1 <= request.n <= MAX_N:
            return f"n is {request.n}; it goes from 1 to {MAX_N}"
        compression = request.output_compression
        if compression is not None and not 0 <= compression <= 100:  # noqa: PLR2004 - per cent
            return f"output_compression is {compression}; it goes from 0 to 100"
        if not self.known:
            return None
        return self._lack(request)

    def _lack(self, request: Request) -> str | None:
        if request.quality not in (*self.qualities, AUTO):
            nearest_one = self.nearest_quality(request.quality)
            return f"{self.name} has no quality {request.quality!r}; of {', '.join(self.qualities)} the nearest is {nearest_one!r}"
        if not self._has_size(request.size):
            return f"{self.name} cannot make size {request.size!r}; the nearest is {self.nearest_size(request.size)!r}"
        if request.output_format not in self.formats:
            return f"{self.name} has no output_format {request.output_format!r}; it has {', '.join(self.formats)}"
        if request.output_compression is not None and request.output_format == "png":
            return "output_compression is for jpeg and webp; leave it out for png"
        if request.background == "transparent" and request.output_format == "jpeg":
            return "a transparent background needs png or webp, not jpeg"
        return None

    def nearest_quality(self, quality: str) -> str:
        """The model's quality that comes nearest to what ``quality`` is, or is written like: the lowest where that is nothing."""
        rank = _RANKS.get(closest(quality, _RANKS) or "", 0)
        return min(self.qualities, key=lambda name: abs(_RANKS[name] - rank))

    def nearest_size(self, size: str) -> str:
        """The size that comes nearest to ``size`` in shape first and in pixels second; by its letters for what is no size."""
        wanted = given_size(size)
        if wanted is None:
            return closest(size, self.table or STANDARD_SIZES) or "1024x1024"
        if self.table:
            return min(self.table, key=lambda known: distance(parse_size(known), wanted))
        return nearest_allowed(*wanted)

    def smallest_size(self, size: str) -> str:
        """The size with the fewest tokens that keeps the shape of ``size``: standing, lying or square."""
        wanted = parse_size(size)
        if self.table:
            same = [known for known in self.table if orientation(*parse_size(known)) == orientation(*wanted)]
            return min(same, key=lambda known: self.table[known]["low"])
        return smallest_allowed(*wanted)

    def lower_quality(self, quality: str) -> str | None:
        """The next lower quality; None below the lowest."""
        if quality == AUTO:
            quality = self.qualities[-1] if self.qualities else AUTO
        if quality not in self.qualities or quality == self.qualities[0]:
            return None
        return self.qualities[self.qualities.index(quality) - 1]

    def output_tokens(self, request: Request) -> int:
        """Image tokens that the answer will be billed for; ``auto`` counts as the dearest that it may become."""
        sizes = STANDARD_SIZES if request.size == AUTO else (request.size,)
        model = self if self.known else catalogue().model(catalogue().default)
        names = model.qualities[:3] if request.quality not in model.qualities else (request.quality,)
        return request.n * max(model.picture_tokens(size, quality) for size in sizes for quality in names)

    def picture_tokens(self, size: str, quality: str) -> int:
        """Image tokens of one picture (published table, or the formula of the vendor's price calculator)."""
        if self.table:
            return self.table.get(size, self.table["1024x1024"])[quality]
        width, height = parse_size(size)
        base = self.bases[quality]
        shorter = round(base / (max(width, height) / min(width, height)))
        return math.ceil(base * shorter * (2_000_000 + width * height) / 4_000_000)

    def input_picture_tokens(self, width: int, height: int) -> int:
        """Tokens of one picture that is edited."""
        return tile_tokens(width, height) if self.table else patch_tokens(width, height)

    def cost_usd(self, input_tokens: int, output_tokens: int, image_tokens: int = 0) -> float | None:
        """USD for so many tokens, ``image_tokens`` of the input being those of pictures; None where the price is unknown."""
        if self.text_in_usd is None or self.image_out_usd is None:
            return None
        given = (input_tokens - image_tokens) * self.text_in_usd + image_tokens * (self.image_in_usd or self.text_in_usd)
        return (given + output_tokens * self.image_out_usd) / 1_000_000

    def _has_size(self, size: str) -> bool:
        if size == AUTO:
            return True
        if self.table:
            return size in self.table
        wanted = given_size(size)
        return wanted is not None and allowed(*wanted)


@attrs.frozen(kw_only=True)
class Catalogue:
    """The models, tiers and profiles of ``models.toml``."""

    default: str
    models: Mapping[str, Model]
    aliases: Mapping[str, str]
    tiers: Mapping[str, Limits]
    profiles: Mapping[str, Mapping[str, Any]]

    def model(self, name: str) -> Model:
        """The model of that name or alias; a name that nobody knows gives a model that is passed on unchecked."""
        known = self.models.get(self.aliases.get(name, name))
        if known is None:
            return Model(name=name, known=False)
        return known if known.name == name else attrs.evolve(known, name=name)

    def tier(self, name: str | int) -> Limits:
        """The limits of a usage tier.

        Raises:
            UsageError: there is no such tier; the message lists them.
        """
        limits = self.tiers.get(str(name))
        if limits is None:
            raise UsageError(f"there is no tier {name!r}; there are {', '.join(self.tiers)}")
        return limits

    def profile(self, name: str, model: Model) -> dict[str, Any]:
        """What the profile asks for, made into what the model can do.

        Raises:
            UsageError: there is no such profile; the message lists them.
        """
        wanted = self.profiles.get(name)
        if wanted is None:
            raise UsageError(f"there is no profile {name!r}; there are {', '.join(self.profiles)}{nearest(name, self.profiles)}")
        chosen = dict(wanted)
        if model.known:
            chosen["quality"] = model.nearest_quality(chosen["quality"])
            chosen["size"] = model.nearest_size(chosen["size"])
        return chosen


@cache
def catalogue() -> Catalogue:
    """The shipped table, read once."""
    data = tomllib.loads(resources.files("headrace").joinpath("models.toml").read_text("utf-8"))
    models, aliases = {}, {}
    for name, entry in data["model"].items():
        family = data["family"][entry["family"]]
        models[name] = Model(
            name=name,
            qualities=tuple(family["qualities"]),
            formats=tuple(family["formats"]),
            bases=family.get("bases", {}),
            table=family.get("output_tokens", {}),
            text_in_usd=entry["price"]["text_in"],
            image_in_usd=entry["price"]["image_in"],
            image_out_usd=entry["price"]["image_out"],
            shutdown=entry.get("shutdown"),
            successor=entry.get("successor"),
        )
        aliases.update(dict.fromkeys(entry.get("aliases", ()), name))
    return Catalogue(
        default=data["default"],
        models=models,
        aliases=aliases,
        tiers={name: Limits(**limits) for name, limits in data["tier"].items()},
        profiles=data["profile"],
    )


def article_tokens(request: Request) -> int:
    """Output tokens by the estimator of the article of July 2025: 5,000 x size x quality + 13 a word.

    Its weights are taken as pixels against 1024x1024 and 0.5, 1 and 2 for low, medium and above. Kept to compare with; the vendor's
    own table and formula are :meth:`Model.output_tokens`.
    """
    width, height = parse_size(request.size)
    quality = {"low": 0.5, "medium": 1.0}.get(request.quality, 2.0)
    return round(request.n * 5_000 * (width * height / 1024**2) * quality + len(request.prompt.split()) * 1.3 * 10)
