"""What the API accepts: the body of a call made into a request, or into the 400 that the vendor gives."""

from __future__ import annotations

import json
from typing import Any

import attrs

from headrace.models import AUTO, MAX_PROMPT_CHARACTERS, Model, catalogue
from headrace.records import Request
from headrace.simulator.form import read_form
from headrace.simulator.replies import Reply, error_reply
from headrace.tokens import prompt_tokens

# Everything that the vendor's schema has; what is not in Request is accepted and makes no difference.
_TYPES: dict[str, type] = {
    "prompt": str,
    "model": str,
    "n": int,
    "size": str,
    "quality": str,
    "background": str,
    "output_format": str,
    "output_compression": int,
    "moderation": str,
    "user": str,
    "safety_identifier": str,
    "complexity": str,
    "stream": bool,
    "partial_images": int,
    "frame_count": int,
    "frame_duration_ms": int,
    "svg": dict,
}
_CHOICES = {"background": (AUTO, "opaque", "transparent"), "moderation": (AUTO, "low"), "stream": (False,)}
# Checked one after the other, so that the first that makes a difference is the one to blame.
_PARAMETERS = ("quality", "size", "output_format", "n", "background", "output_compression")
_NAMES = {str: "a string", int: "an integer", bool: "a boolean", dict: "an object"}


@attrs.frozen(kw_only=True)
class Call:
    """A call that the API accepts."""

    request: Request
    model: Model
    quality: str
    """What ``auto`` became."""
    size: str
    """What ``auto`` became."""

    @property
    def output_tokens(self) -> int:
        """Image tokens of all its pictures."""
        return self.request.n * self.model.picture_tokens(self.size, self.quality)

    @property
    def image_tokens(self) -> int:
        """Tokens of the pictures that came with it."""
        return sum(self.model.input_picture_tokens(upload.width, upload.height) for upload in self.request.images)

    @property
    def input_tokens(self) -> int:
        """Tokens of its words and of those pictures."""
        return prompt_tokens(self.request.prompt) + self.image_tokens


def parse(raw: bytes, model: str | None = None) -> Call | Reply:
    """The call in a body that asks for a picture of words, or the answer that says what is wrong with it.

    ``model`` is what a deployment holds, whatever the body names.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return error_reply(400, "We could not parse the JSON body of your request.")
    if not isinstance(body, dict):
        return error_reply(400, "The JSON body of your request is to be an object.")
    return _parsed(body, model)


def parse_edit(raw: bytes, content_type: str, model: str | None = None) -> Call | Reply:
    """The same of a body that asks for an edit."""
    form = read_form(raw, content_type)
    if isinstance(form, Reply):
        return form
    if "moderation" in form.fields:
        return error_reply(400, "Unknown parameter: 'moderation'.", code="unknown_parameter", param="moderation")
    form.fields.pop("input_fidelity", None)
    call = _parsed(form.fields, model)
    if isinstance(call, Reply):
        return call
    return attrs.evolve(call, request=attrs.evolve(call.request, images=form.images, mask=form.mask))


def _parsed(body: dict[str, Any], model: str | None) -> Call | Reply:
    fields = {name: value for name, value in body.items() if value is not None}
    fields |= {} if model is None else {"model": model}
    return _field_problem(body, fields) or _call(fields)


def _field_problem(body: dict[str, Any], fields: dict[str, Any]) -> Reply | None:
    for name in body:
        if name not in _TYPES:
            return error_reply(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    for name, value in fields.items():
        expected = _TYPES[name]
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            message = f"Invalid type for '{name}': expected {_NAMES[expected]}."
            return error_reply(400, message, code="invalid_type", param=name)
        if value not in _CHOICES.get(name, (value,)):
            return _invalid_value(name, value, "It is not supported.")
    prompt = fields.get("prompt")
    if not prompt:
        message = "Missing required parameter: 'prompt'."
        return error_reply(400, message, code="missing_required_parameter", param="prompt")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        message = f"Invalid 'prompt': string too long. It has {len(prompt)} characters; {MAX_PROMPT_CHARACTERS} are allowed."
        return error_reply(400, message, code="string_above_max_length", param="prompt")
    return None


def _call(fields: dict[str, Any]) -> Call | Reply:
    model = catalogue().model(fields.get("model", catalogue().default))
    if not model.known:
        return error_reply(400, f"The model '{model.name}' does not exist.", kind="image_generation_user_error", param="model")
    plain = Request(prompt=fields["prompt"], model=model.name, size=AUTO, quality=AUTO)
    given = {name: fields[name] for name in (*_PARAMETERS, "moderation") if name in fields}
    request = attrs.evolve(plain, **given)
    if model.problem(request):
        return _blame(model, plain, given)
    return Call(
        request=request,
        model=model,
        quality="high" if request.quality == AUTO else request.quality,
        size="1024x1024" if request.size == AUTO else request.size,
    )


def _blame(model: Model, request: Request, given: dict[str, Any]) -> Reply:
    for name, value in given.items():
        request = attrs.evolve(request, **{name: value})
        problem = model.problem(request)
        if problem:
            return _invalid_value(name, value, f"{problem[:1].upper()}{problem[1:]}.")
    raise AssertionError("only called for a request with a problem")


def _invalid_value(name: str, value: Any, why: str) -> Reply:
    return error_reply(400, f"Invalid value: {value!r}. {why}", code="invalid_value", param=name)
