"""Scenes of two participants, each told in several ways: what moves a phrase and what exchanges who does what.

Two ways to tell one scene ask for the same picture; one of them and one of the scene with its participants exchanged ask for two, though
both have the same words. Scenes are drawn by number: the same numbers give the same pairs.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

TOLD_OTHERWISE = "told otherwise"
EXCHANGED = "participants exchanged"

_BEINGS = """dog|cat|horse|bear|monkey|rabbit|bird|cow|sheep|elephant|fox|robot|man|woman|boy|girl|child|nurse|chef|dancer|knight|wizard
clown|farmer|pirate|old man|little girl|white cat|black dog|brown horse|tall woman|young boy|small bird|large giraffe|smaller giraffe
soldier"""
_THINGS = """cup|bowl|book|lamp|box|vase|clock|bottle|chair|suitcase|laptop|plate|candle|basket|toy|shoe|hat|teapot|red ball|blue box
glass vase|wooden chair|yellow kite|metal bucket"""
_HELD = "umbrella|balloon|guitar|flag|book|hat|camera|backpack|sword|rope|kite|bag|flower|stick|blue scarf|red bag"
_PLACES = """on a beach|in a park|in the snow|near a lake|in front of a house|on a street|under a tree|beside a fence|by the sea|on a bench
in a kitchen|at a table"""
_TRANSITIVE = """chasing:chases:chased watching:watches:watched feeding:feeds:fed hugging:hugs:hugged following:follows:followed
pushing:pushes:pushed carrying:carries:carried pulling:pulls:pulled washing:washes:washed painting:paints:painted kissing:kisses:kissed"""
_INTRANSITIVE = """sleeping:sleeps running:runs jumping:jumps eating:eats swimming:swims dancing:dances crying:cries singing:sings
reading:reads laughing:laughs sitting:sits standing:stands walking:walks"""

_TOLD: dict[str, tuple[str, ...]] = {
    "does": (
        "{x} {ving} {y} {place}",
        "{place}, {x} is {ving} {y}",
        "{y} is being {ved} by {x} {place}",
        "{x} is {ving} {y} {place}",
        "there is {x} {ving} {y} {place}",
        "{x} {vs} {y} {place}",
        "{place} {x} {vs} {y}",
        "{y} {ved} by {x} {place}",
        "{x} that is {ving} {y} {place}",
    ),
    "both do": (
        "{x} is {ving} while {y} is {wing}",
        "{y} is {wing} and {x} is {ving}",
        "{x} {ving} and {y} {wing}",
        "while {y} {ws}, {x} {vs}",
        "{y} {ws} while {x} {vs}",
        "{x} is {ving} as {y} is {wing}",
    ),
    "beside": (
        "{x} {ving} next to {y} {wing}",
        "{x} is {ving} beside {y} that is {wing}",
        "{y} {wing} next to {x} {ving}",
        "next to {y} that is {wing}, {x} is {ving}",
        "{x} is {ving} near {y} who is {wing}",
    ),
    "has": (
        "{x} with {a} next to {y}",
        "{y} next to {x} with {a}",
        "next to {y} there is {x} with {a}",
        "{x} who has {a} is beside {y}",
        "{y} is standing near {x} that has {a}",
        "{x} holding {a} is standing next to {y}",
        "{y} stands next to {x} holding {a}",
    ),
    "watches it": (
        "{x} is {ving} {place} while {y} looks at it",
        "while {y} looks at it, {x} is {ving} {place}",
        "{y} looks at {x} {ving} {place}",
        "{y} is looking at {x} that is {ving} {place}",
        "{x} {ving} {place} and {y} looking at it",
    ),
    "hold": (
        "{x} holding {a} and {y} holding {b}",
        "{y} holding {b} and {x} holding {a}",
        "{x} holds {a} while {y} holds {b}",
        "{x} with {a} next to {y} with {b}",
        "{y} with {b} beside {x} with {a}",
        "{x} is holding {a} and {y} is holding {b}",
    ),
    "on top": (
        "{o} on top of {p} {place}",
        "{place} is {o} on {p}",
        "{o} is placed on {p} {place}",
        "there is {o} on top of {p} {place}",
        "{p} under {o} {place}",
        "{p} with {o} on top of it {place}",
        "{place}, {p} has {o} on it",
    ),
    "before": (
        "{x} in front of {y} {place}",
        "{y} behind {x} {place}",
        "{place}, {x} is in front of {y}",
        "{x} stands in front of {y} {place}",
        "{y} is standing behind {x} {place}",
        "there is {y} behind {x} {place}",
    ),
    "gives": (
        "{x} giving {a} to {y}",
        "{x} gives {a} to {y}",
        "{x} is giving {a} to {y}",
        "{a} is given to {y} by {x}",
        "{x} is handing {a} to {y}",
    ),
    "stands on": (
        "{x} on {t} next to {y}",
        "{y} next to {x} that is on {t}",
        "next to {y} there is {x} on {t}",
        "{x} that is on {t} is beside {y}",
        "{x} is on {t} and next to {y}",
    ),
    "each on": (
        "{o} on {t} and {p} on {u}",
        "{p} on {u} and {o} on {t}",
        "{o} is on {t} while {p} is placed on {u}",
        "on {t} there is {o} and on {u} is {p}",
        "{o} is positioned on {t}, and {p} on {u}",
    ),
    "stacked": (
        "{o} on top of {p} on {t}",
        "on {t} is {p} with {o} on top of it",
        "{p} with {o} on it is placed on {t}",
        "{o} on {p} that is on {t}",
    ),
    "background": (
        "{o} on {t} with {x} in the background",
        "{x} is in the background while {o} is on {t}",
        "with {x} in the background, {o} is on {t}",
        "{o} is placed on {t} and {x} is seen in the background",
    ),
    "near, before": (
        "{x} near {y} in front of {t}",
        "{x} is beside {y} that is in front of {t}",
        "in front of {t} is {y} with {x} next to it",
        "{y} in front of {t} next to {x}",
    ),
    "around": (
        "{x} surrounded by {many} {place}",
        "{place}, {x} is surrounded by {many}",
        "{many} surrounding {x} {place}",
        "{many} around {x} {place}",
        "{x} with {many} around it {place}",
    ),
    "has, beside": (
        "{o} with {a} next to {p}",
        "{p} next to {o} with {a}",
        "{o} with {a} is positioned beside {p}",
        "next to {p} is {o} with {a} on it",
        "{p} is adjacent to {o} that has {a} on it",
    ),
    "with things": (
        "{o} and {p} on {t}",
        "{t} on which there are {o} and {p}",
        "on {t} are {p} and {o}",
        "{t} with {o} and {p} on it",
        "{p} and {o} are placed on {t}",
        "there are {o} and {p} on top of {t}",
    ),
}
_EXCHANGES: dict[str, tuple[tuple[str, str], ...]] = {
    "hold": (("x", "y"),),
    "each on": (("o", "p"), ("t", "u")),
    "stacked": (("o", "p"), ("p", "t")),
    "background": (("o", "x"), ("t", "x")),
    "has, beside": (("o", "p"),),
    "around": (("x", "many"),),
    "on top": (("o", "p"),),
    "with things": (("o", "t"), ("p", "t")),
    "gives": (("x", "y"),),
}


class Scene(NamedTuple):
    """A kind of scene, and what its parts are called."""

    kind: str
    parts: dict[str, str]

    def told(self, way: int) -> str:
        """In the way of that number."""
        return _TOLD[self.kind][way % len(_TOLD[self.kind])].format_map(self.parts)

    def exchanged(self, which: int) -> Scene:
        """The same with two parts exchanged."""
        exchanges = _EXCHANGES.get(self.kind, (("x", "y"),))
        one, other = exchanges[which % len(exchanges)]
        return Scene(self.kind, {**self.parts, one: self.parts[other], other: self.parts[one]})


def scene(number: int) -> Scene:
    """The scene of that number."""
    rng = Random(f"scene {number}")  # noqa: S311 - repeatable, not secret
    x, y = rng.sample(_listed(_BEINGS), 2)
    o, p, t, u = rng.sample(_listed(_THINGS), 4)
    a, b = rng.sample(_listed(_HELD), 2)
    kind = rng.choice(list(_TOLD))
    parts = {part: _with_article(name, rng) for part, name in zip("xyoptuab", (x, y, o, p, t, u, a, b), strict=True)}
    parts["many"] = rng.choice(["people", "children", "pigeons", "trees", "flowers", "cars", "balloons"])
    v, w = rng.sample(_INTRANSITIVE.split(), 2)
    verb = rng.choice(_TRANSITIVE.split()) if kind == "does" else v
    for name, forms in (("v", verb), ("w", w)):
        parts |= {name + end: form for end, form in zip(("ing", "s", "ed"), forms.split(":"), strict=False)}
    return Scene(kind, {**parts, "place": rng.choice(_listed(_PLACES))})


def told_otherwise(number: int) -> tuple[str, str, list[str]]:
    """A scene told in two ways, and exchanged scenes told in some."""
    one = scene(number)
    rng = Random(f"ways {number}")  # noqa: S311 - repeatable, not secret
    first, second, third = rng.sample(range(len(_TOLD[one.kind])), 3)
    other = one.exchanged(rng.randrange(2))
    return one.told(first), one.told(second), [other.told(first), other.told(second), other.told(third)]


def _listed(names: str) -> list[str]:
    return names.replace("\n", "|").split("|")


def _with_article(noun: str, rng: Random) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" if rng.random() < 0.8 else f"the {noun}"  # noqa: PLR2004
