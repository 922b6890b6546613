"""What each prompt will use of limits and budget; a prompt that its model cannot do ends here, before it costs anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace.estimate import estimate
from headrace.log import log
from headrace.models import catalogue
from headrace.records import Estimated, Failure, Kind, Problem, Result
from headrace.validators import closest

if TYPE_CHECKING:
    from trio import MemoryReceiveChannel, MemorySendChannel

    from headrace.models import Model
    from headrace.records import Prompt


class Estimate:
    """Checks a request against its model and estimates its tokens and its cost.

    Args:
        estimator: ``vendor`` or ``article``.
        refuse_retired: whether the API is the vendor's own, which has shut retired models down; elsewhere they may live on.
    """

    def __init__(self, *, estimator: str, refuse_retired: bool) -> None:
        self._estimator = estimator
        self._refuse_retired = refuse_retired
        self._warned: set[str] = set()

    async def run(
        self,
        source: MemoryReceiveChannel[Prompt | Result],
        sink: MemorySendChannel[Estimated | Failure | Result],
    ) -> None:
        """One record in, one record out."""
        with source, sink:
            async for record in source:
                await sink.send(record if isinstance(record, Result) else self.estimated(record))

    def estimated(self, prompt: Prompt) -> Estimated | Failure:
        """The prompt with its estimate, or why it cannot be done."""
        model = catalogue().model(prompt.request.model)
        message = self._retirement(model) or model.problem(prompt.request)
        if message is not None:
            return Failure(prompt=prompt, problem=Problem(kind=Kind.BAD_REQUEST, message=message))
        return estimate(prompt, prompt.request, self._estimator)

    def _retirement(self, model: Model) -> str | None:
        retired = model.retired(datetime.now(UTC).date())
        message = f"model {model.name} was shut down on {model.shutdown}; its successor is {model.successor}"
        if retired and self._refuse_retired:
            return message
        if model.name not in self._warned and (retired or not model.known):
            self._warned.add(model.name)
            if retired:
                log.warning("model_retired", model=model.name, successor=model.successor)
            else:
                log.warning(
                    "model_unknown", model=model.name, nearest=closest(model.name, catalogue().models), next="it is asked for as it is"
                )
        return None
