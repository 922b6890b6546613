"""Values that a shell offers for options; each is asked for by a Tab, and imports what it needs then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # noqa: TC002 - typer reads the annotations

if TYPE_CHECKING:
    from headrace.models import Model

Values = list[tuple[str, str]]
"""Each with a few words about it, which zsh and fish show."""


def models() -> Values:
    """The models that there are, with the price of a picture in their lowest quality; those that were shut down are left out."""
    from datetime import UTC, datetime  # noqa: PLC0415 - see main.py

    from headrace.models import catalogue  # noqa: PLC0415

    today = datetime.now(UTC).date()
    return [(model.name, _price(model, model.qualities[0])) for model in catalogue().models.values() if not model.retired(today)]


def qualities(ctx: typer.Context) -> Values:
    """Those of the model that was named before, or else of the default."""
    model = _model(ctx)
    return [(quality, _price(model, quality)) for quality in model.qualities]


def sizes(ctx: typer.Context) -> Values:
    """Those that the model of the command line has in a table; of a model that makes any size the usual ones."""
    from headrace.models import STANDARD_SIZES  # noqa: PLC0415

    return [(size, "") for size in _model(ctx).table or STANDARD_SIZES]


def tiers() -> Values:
    """The vendor's usage tiers."""
    from headrace.models import catalogue  # noqa: PLC0415

    tokens = {name: limits.tokens_per_minute for name, limits in catalogue().tiers.items()}
    return [(name, "" if most is None else f"{most:,.0f} tokens a minute") for name, most in tokens.items()]


def profiles() -> Values:
    """Ready-made ways to ask."""
    from headrace.models import catalogue  # noqa: PLC0415

    return [(name, ", ".join(str(value) for value in wanted.values())) for name, wanted in catalogue().profiles.items()]


def policies() -> Values:
    """Policies of the cache."""
    from headrace.settings import POLICIES  # noqa: PLC0415

    return [(policy, "") for policy in POLICIES]


def formats() -> Values:
    """Formats of pictures."""
    from headrace.settings import FORMATS  # noqa: PLC0415

    return [(form, "") for form in FORMATS]


def doubts() -> Values:
    """What may be done with calls that a kill left without an answer."""
    return [("retry", "ask again"), ("hold", "leave them alone")]


def _model(ctx: typer.Context) -> Model:
    from headrace.models import catalogue  # noqa: PLC0415

    known = catalogue()
    model = known.model(ctx.params.get("model") or known.default)
    return model if model.known else known.model(known.default)


def _price(model: Model, quality: str) -> str:
    cost_usd = model.cost_usd(0, model.picture_tokens("1024x1024", quality))
    return "" if cost_usd is None else f"${cost_usd:.4f} for 1024x1024"
