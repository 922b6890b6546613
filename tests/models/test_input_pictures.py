from __future__ import annotations

import pytest

from headrace.estimate import estimate
from headrace.models import catalogue
from headrace.records import Prompt, Request, Upload


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("gpt-image-2", 128, 128, 64),
        ("gpt-image-2", 1024, 1024, 1024),
        ("gpt-image-2", 1536, 1024, 1536),
        ("gpt-image-2", 4000, 3000, 1536),
        ("gpt-image-1.5", 128, 128, 194),
        ("gpt-image-1.5", 1024, 1024, 194),
        ("gpt-image-1.5", 1536, 1024, 323),
    ],
)
def test_input_pictures_take_what_recorded_answers_were_billed_for(model: str, width: int, height: int, tokens: int) -> None:
    assert catalogue().model(model).input_picture_tokens(width, height) == tokens


def test_their_tokens_have_a_price_of_their_own_and_a_mask_has_none() -> None:
    plain = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low")
    upload = Upload(sha256="a", format="png", width=1024, height=1024, length=9)
    edit = Request(prompt="a fox", model="gpt-image-2", size="1024x1024", quality="low", images=(upload, upload), mask=upload)
    without, with_them = (estimate(Prompt(seq=0, id="0", request=request), request, "vendor") for request in (plain, edit))
    assert (with_them.input_tokens - without.input_tokens, with_them.image_tokens) == (2048, 2048)
    assert with_them.cost_usd is not None
    assert without.cost_usd is not None
    assert with_them.cost_usd - without.cost_usd == pytest.approx(2048 * 8 / 1e6)
