"""``headrace models``: what each model can do and what it costs."""

from __future__ import annotations


def models() -> None:
    """Show the models that headrace knows: qualities, tokens and price of a 1024x1024 picture, until when they live."""
    from datetime import UTC, datetime  # noqa: PLC0415 - see main.py

    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from headrace.models import catalogue  # noqa: PLC0415

    known = catalogue()
    table = Table("model", "quality", "tokens", "USD", "state", show_lines=True)
    for column in table.columns[:4]:
        column.no_wrap = True
    for model in known.models.values():
        tokens = [model.picture_tokens("1024x1024", quality) for quality in model.qualities]
        costs = [model.cost_usd(0, count) or 0.0 for count in tokens]
        state = "default" if model.name == known.default else "active"
        if model.retired(datetime.now(UTC).date()):
            state = f"shut down {model.shutdown}; use {model.successor}"
        elif model.shutdown is not None:
            state = f"until {model.shutdown}; then {model.successor}"
        table.add_row(
            model.name,
            "\n".join(model.qualities),
            "\n".join(f"{count:>6,}" for count in tokens),
            "\n".join(f"{cost:.4f}" for cost in costs),
            f"{state}\nsizes: {', '.join(model.table) or 'any within the rules'}",
        )
    console = Console()
    console.print(table)
    console.print("Tokens and prices are of one picture of 1024x1024 pixels, by quality; the prompt's own tokens come on top.")
    console.print("A name that is not listed is passed on as it is, with a warning. Tiers: " + ", ".join(known.tiers), soft_wrap=True)
