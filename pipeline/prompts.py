"""One line, row, text or mapping of the input into a prompt; what is none becomes a result that says what is wrong and where."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from headrace.errors import UsageError
from headrace.lines import Line, Row
from headrace.models import MAX_PROMPT_CHARACTERS
from headrace.records import CacheMode, Kind, Problem, Prompt, Request, Result
from headrace.results import unreadable
from headrace.structure import structure
from headrace.text import clean
from headrace.uploads import uploads
from headrace.validators import at_least, one_of

if TYPE_CHECKING:
    from headrace.settings import RequestSettings

_SHOWN = 200


@attrs.frozen(kw_only=True)
class PromptLine:
    """The input contract: what the object of a line may hold."""

    prompt: str
    id: int | str | None = None
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    n: int | None = attrs.field(default=None, validator=at_least(1, 10))
    output_format: str | None = attrs.field(default=None, validator=one_of("png", "jpeg", "webp"))
    output_compression: int | None = attrs.field(default=None, validator=at_least(0, 100))
    background: str | None = attrs.field(default=None, validator=one_of("transparent", "opaque", "auto"))
    moderation: str | None = attrs.field(default=None, validator=one_of("auto", "low"))
    cache: str = attrs.field(default="use", validator=one_of(*CacheMode))
    variation: int = attrs.field(default=0, validator=at_least(0))
    namespace: str | None = None
    images: tuple[str, ...] = ()
    mask: str | None = None
    metadata: Any = None


_PARAMETERS = tuple(field.name for field in attrs.fields(Request) if field.name not in ("prompt", "images", "mask"))


class PromptReader:
    """Makes prompts of input items, numbering them from 0.

    Args:
        defaults: what a prompt asks for where its item says nothing.
        format: of lines: ``text``, ``jsonl`` or ``auto``, which is decided by the first line that is not blank.
    """

    def __init__(self, defaults: RequestSettings, format: str = "auto") -> None:  # noqa: A002 - the contract's name
        self._defaults = {name: getattr(defaults, name) for name in _PARAMETERS}
        self._format = format
        self._seq = 0

    @staticmethod
    def blocks(item: object) -> bool:
        """Whether reading the item may look at picture files, which takes its time."""
        if isinstance(item, Line):
            return b'"images"' in item.text
        fields = item.fields if isinstance(item, Row) else item
        return isinstance(fields, dict) and "images" in fields

    def read(self, item: object) -> Prompt | Result | None:
        """A prompt, the result of an item that is none, or None for a blank line."""
        if isinstance(item, Line) and not item.too_long and not item.text.strip():
            return None
        where = _where(item, self._seq)
        seq, self._seq = self._seq, self._seq + 1
        document: Any = item.fields if isinstance(item, Row) else None
        try:
            document = self._document(item)
            return self._prompt(seq, document)
        except UsageError as error:
            name, text = _identity(document)
            if text is None and isinstance(item, Line):
                text = clean(item.text[:_SHOWN].decode("utf-8", "replace"))
            problem = Problem(kind=Kind.BAD_LINE, message=clean(f"{where}: {error}"))
            result = unreadable(seq, name, text, problem)
            return attrs.evolve(result, metadata=document.get("metadata")) if isinstance(document, dict) else result

    def _document(self, item: object) -> Any:
        if isinstance(item, Row):
            if item.problem is not None:
                raise UsageError(item.problem)
            return item.fields
        if not isinstance(item, Line):
            return item
        if item.too_long:
            raise UsageError("it is longer than 4 MiB")
        try:
            text = item.text.decode()
        except UnicodeDecodeError as error:
            raise UsageError(f"it is not UTF-8 (byte {error.start + 1}); convert the file with iconv -t UTF-8") from None
        if self._format == "auto":
            self._format = "jsonl" if text.lstrip().startswith(("{", '"')) else "text"
        if self._format == "text":
            return text
        try:
            return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        except RecursionError:
            raise UsageError("it is nested too deeply") from None
        except ValueError as error:
            raise UsageError(f"it is not JSON ({error}); --format text takes lines as they are") from None

    def _prompt(self, seq: int, document: Any) -> Prompt:
        if isinstance(document, str):
            document = {"prompt": document}
        if not isinstance(document, dict):
            raise UsageError(f'a prompt is a text or an object with "prompt", not {type(document).__name__}')
        line = structure(document, PromptLine)
        _check(line.prompt)
        for name in ("id", "model", "size", "quality", "namespace"):
            _check_text(name, getattr(line, name))
        images, mask = uploads(line.images, line.mask)
        asked = {name: value for name in _PARAMETERS if (value := getattr(line, name)) is not None}
        return Prompt(
            seq=seq,
            id=str(seq if line.id is None else line.id),
            named=line.id is not None,
            request=Request(prompt=line.prompt, images=images, mask=mask, **(self._defaults | asked)),
            cache=CacheMode(line.cache),
            variation=line.variation,
            namespace=line.namespace,
            metadata=line.metadata,
        )


def _where(item: object, seq: int) -> str:
    if isinstance(item, Line):
        return f"line {item.number}"
    return f"{item.unit} {item.number}" if isinstance(item, Row) else f"item {seq}"


def _check(prompt: str) -> None:
    if not prompt.strip():
        raise UsageError("the prompt is empty")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise UsageError(f"the prompt has {len(prompt):,} characters; models take {MAX_PROMPT_CHARACTERS:,}")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the prompt has half of a surrogate pair at character {error.start + 1}") from None


def _check_text(name: str, value: int | str | None) -> None:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name} has half of a surrogate pair") from None
    except ValueError:
        raise UsageError(f"{name} is too large a number") from None


def _identity(document: Any) -> tuple[str | None, str | None]:
    if isinstance(document, str):
        return None, document[:_SHOWN]
    if not isinstance(document, dict):
        return None, None
    name, prompt = document.get("id"), document.get("prompt")
    usable = type(name) is str or (type(name) is int and abs(name) < 10**100)
    # Half of a surrogate pair can be said in JSON, and in no file.
    return (str(name).encode("utf-8", "replace").decode() if usable else None), (prompt[:_SHOWN] if isinstance(prompt, str) else None)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is larger than any number that comes back")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
