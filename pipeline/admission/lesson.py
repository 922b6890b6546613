"""What is learnt of one limit of a pool, told so that another process that has the same pool can go on with it."""

from __future__ import annotations

import attrs

from headrace.admission.last_good import Standing  # noqa: TC001 - read by structure()


@attrs.frozen(kw_only=True)
class Lesson:
    """One limit."""

    resource: str
    """Images, tokens or requests, or ``calls`` at once."""
    named: float | None
    """What the settings say: where they say something else, it is another lesson."""
    limit: float | None
    """A minute; None for calls at once, of which only a level is known."""
    source: str
    standing: Standing

    @property
    def plain(self) -> bool:
        """Whether it is no more than what the settings say."""
        return self.limit is not None and self.named == self.limit == self.standing.level
