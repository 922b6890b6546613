"""What a request will use of the limits and of the budget, before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.models import article_tokens, catalogue
from headrace.records import Estimated
from headrace.tokens import prompt_tokens

if TYPE_CHECKING:
    from headrace.records import Prompt, Request


def estimate(prompt: Prompt, request: Request, estimator: str) -> Estimated:
    """The tokens and the cost of ``request``, made for ``prompt``; ``estimator`` is ``vendor`` or ``article``."""
    model = catalogue().model(request.model)
    # A mask is none of the pictures that the model is billed for.
    image_tokens = sum(model.input_picture_tokens(upload.width, upload.height) for upload in request.images)
    input_tokens = prompt_tokens(request.prompt) + image_tokens
    output_tokens = article_tokens(request) if estimator == "article" else model.output_tokens(request)
    return Estimated(
        prompt=prompt,
        request=request,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=model.cost_usd(input_tokens, output_tokens, image_tokens),
        image_tokens=image_tokens,
    )
