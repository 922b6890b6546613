"""What flows through the line: one frozen record a hop.

``Prompt -> Estimated -> Admitted -> Answer | Failure -> Result``. A :class:`Result` may be born early (an unreadable line, a cache hit),
and so may a :class:`Failure` (an impossible request, over budget): later stages pass them through, so the line has no side exits.

One file for all of them, though it is a long one: what flows can be read here from its first hop to its last.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from pathlib import Path


class Status(StrEnum):
    """How a prompt ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Strategy(StrEnum):
    """What made a result."""

    PRIMARY = "primary"
    CACHE_EXACT = "cache_exact"
    CACHE_CANONICAL = "cache_canonical"
    CACHE_VERIFIED = "cache_verified"
    CACHE_COSINE = "cache_cosine"
    COALESCED = "coalesced"
    REDUCED_QUALITY = "reduced_quality"
    CACHED_SIMILAR = "cached_similar"
    ALTERNATIVE_API = "alternative_api"


class CacheMode(StrEnum):
    """What a prompt wants of the cache: use it, make and store a new picture, or go round it."""

    USE = "use"
    REFRESH = "refresh"
    BYPASS = "bypass"


class Kind(StrEnum):
    """Why a prompt or an attempt failed; the action that follows is in ``provider/failures.py`` and ``admission/retry.py``."""

    BAD_LINE = "bad_line"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    SLOW_DOWN = "slow_down"
    BILLING = "billing"
    AUTH = "auth"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    MODEL_NOT_FOUND = "model_not_found"
    MODERATION_BLOCKED = "moderation_blocked"
    CONTENT_POLICY_VIOLATION = "content_policy_violation"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    NETWORK = "network"
    TIMEOUT = "timeout"
    BAD_ANSWER = "bad_answer"
    NO_POOL = "no_pool"
    WAITED_TOO_LONG = "waited_too_long"
    OVER_BUDGET = "over_budget"
    INTERRUPTED = "interrupted"
    IN_DOUBT = "in_doubt"
    HELD_UP = "held_up"


@attrs.frozen(kw_only=True)
class Upload:
    """A picture that an edit starts from; two with the same content are equal, wherever they come from."""

    sha256: str
    format: str
    width: int
    height: int
    length: int
    """Bytes."""
    transparent: bool = False
    """Whether it may be clear in places."""
    path: str | None = attrs.field(default=None, eq=False)
    """Its file; None where the line brought it along."""
    data: bytes | None = attrs.field(default=None, eq=False, repr=False)
    """Its content, where there is no file."""


@attrs.frozen(kw_only=True)
class Request:
    """What is asked of a model: the prompt and every parameter that changes the picture."""

    prompt: str
    model: str
    size: str
    quality: str
    n: int = 1
    output_format: str = "png"
    output_compression: int | None = None
    background: str | None = None
    moderation: str | None = None
    images: tuple[Upload, ...] = ()
    """What is to be edited; none where a picture is made of words alone."""
    mask: Upload | None = None
    """Clear where the first of them is to change."""

    @property
    def uploads(self) -> tuple[Upload, ...]:
        """Every picture that goes with it, the mask last."""
        return self.images if self.mask is None else (*self.images, self.mask)


@attrs.frozen
class Vector:
    """The words of a prompt as one encoder sees them."""

    encoder: str
    """Its fingerprint: vectors of different encoders are never compared."""
    values: bytes
    """Float32, of length 1."""


@attrs.frozen(kw_only=True)
class Prompt:
    """One accepted line of the input."""

    seq: int
    """Position in the input, from 0, blank lines not counted."""
    id: str
    """The caller's name for it; the sequence number by default."""
    request: Request
    cache: CacheMode = CacheMode.USE
    variation: int = 0
    """Asks for the n-th different picture of the same request."""
    metadata: Any = None
    """The caller's own columns: returned untouched."""
    named: bool = False
    """Whether the caller gave the id."""
    item: int | None = None
    """Its number in the journal, where one is kept."""
    namespace: str | None = None
    """The caller's own separation in the cache; the settings' where absent."""
    scope: str | None = None
    """Set by ``dedupe`` where the answer is to be kept: the hash of everything but the words that changes the picture."""
    key: str | None = None
    """Set with it: the exact key that the answer goes under."""
    leads: tuple[str, ...] = ()
    """The keys in flight under which other prompts may wait for the answer."""
    claim: str | None = None
    """Set by ``claim``: by which other processes know who is paying for it."""
    vector: Vector | None = None
    """Set by ``semantic`` where the encoder has seen the words."""


@attrs.frozen(kw_only=True)
class Estimated:
    """A prompt that a model can do, with what it will use of the limits and of the budget."""

    prompt: Prompt
    request: Request
    """What will be sent: the prompt's own request, or what a fallback made of it."""
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    """Estimated cost; None where the model's price is unknown."""
    image_tokens: int = 0
    """Those of the input tokens that pictures to be edited take."""

    @property
    def tokens(self) -> int:
        """Tokens charged to a tokens-a-minute limit."""
        return self.input_tokens + self.output_tokens


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens that the API billed."""

    input_tokens: int
    output_tokens: int


@attrs.frozen(kw_only=True)
class Problem:
    """Why one attempt got no picture, in our terms."""

    kind: Kind
    message: str
    status: int | None = None
    """HTTP status, where there was an answer."""
    retryable: bool = False
    """True where the same line could succeed in another run."""
    retry_after_s: float | None = None
    """Seconds that the API asked to wait."""
    billed: bool = False
    """True where a picture was made and is billed, and yet none can be used."""
    uncertain: bool = False
    """True where nobody knows whether a picture was made and billed."""


@attrs.frozen(kw_only=True)
class Picture:
    """One picture file."""

    path: str
    """Relative to the output folder."""
    sha256: str
    format: str
    width: int
    height: int
    bytes: int


@attrs.frozen
class Part:
    """A written picture file that does not have its final name yet."""

    path: Path
    final: Path


@attrs.frozen
class Trail:
    """What a prompt went through on its way."""

    key: str | None = None
    """Name of the key that was used last."""
    attempts: int = 0
    """Calls that were made for it; those that were refused for their pace or for their key do not count."""
    waited_s: float = 0.0
    """Seconds spent waiting for admission."""
    latency_s: float | None = None
    """Seconds that the answering call took."""
    spoilt_usd: float = 0.0
    """Estimated cost of pictures that were made and billed and could not be used."""
    doubtful_usd: float = 0.0
    """Estimated cost of calls whose answer never came, and that may have been billed."""

    @property
    def wasted_usd(self) -> float:
        """What a budget has to reckon with besides the answer itself."""
        return self.spoilt_usd + self.doubtful_usd


@attrs.frozen(kw_only=True)
class Match:
    """Whose picture a prompt was given."""

    of: str
    """The id of the prompt that was paid for."""
    similarity: float
    """Cosine of the two prompts; 1 where they are the same to the letter or in content."""
    difference: str | None = None
    """What differs in the words."""
    prompt: str | None = None
    """The words of the prompt that was paid for."""


@attrs.frozen(kw_only=True)
class Hit:
    """A picture that is there already, for a prompt that asks for it again."""

    strategy: Strategy
    pictures: tuple[Picture, ...]
    prompt: str
    """The words of the one who paid."""
    model: str
    size: str
    quality: str
    cost_usd: float | None
    """What it cost then."""
    match: Match

    def for_twin(self, similarity: float, difference: str | None) -> Hit:
        """The same pictures for a prompt of other words; what a similar picture differs in already is still told."""
        told = "; ".join(each for each in (difference, self.match.difference) if each) or None
        return attrs.evolve(self, match=attrs.evolve(self.match, similarity=min(similarity, self.match.similarity), difference=told))


@attrs.frozen(kw_only=True)
class Answer:
    """Pictures, and what they cost."""

    prompt: Prompt
    request: Request
    """What was sent in the end."""
    strategy: Strategy
    pictures: tuple[Picture, ...]
    usage: Usage | None
    cost_usd: float | None
    trail: Trail
    match: Match | None = None
    """Whose pictures they are, where they were made for another prompt."""
    parts: tuple[Part, ...] = ()
    """Picture files that do not have their final names yet."""


@attrs.frozen(kw_only=True)
class Call:
    """One call that was made for a prompt, once it is over: what instruments are told."""

    prompt: Prompt
    request: Request
    """What was sent."""
    pool: str
    key: str
    """Names; the key itself is never shown."""
    waited_s: float
    """Seconds that the request waited for this call to be let in."""
    waited_for: str | None
    """What kept it waiting in the end, in the words of :mod:`headrace.admission.ledger`; None where nothing did."""
    started: float
    ended: float
    """On the run's clock, in seconds."""
    request_id: str | None = None
    """What it carried as X-Client-Request-Id, where a journal is kept."""
    usage: Usage | None = None
    problem: Problem | None = None
    """Why it got no picture; None where it did."""


@attrs.frozen(kw_only=True)
class Failure:
    """A prompt that was given up, and why."""

    prompt: Prompt
    problem: Problem
    estimated: Estimated | None = None
    """What a fallback can start from; None where the request itself is impossible."""
    trail: Trail = attrs.field(factory=Trail)


@attrs.frozen(kw_only=True)
class Result:
    """What became of one prompt: one line of the output."""

    seq: int
    id: str
    prompt: str | None
    status: Status
    strategy: Strategy | None = None
    images: tuple[Picture, ...] = ()
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    key: str | None = None
    """The key's name; never the key."""
    attempts: int = 0
    usage: Usage | None = None
    cost_usd: float | None = 0.0
    """USD paid for this prompt; None where the model's price is unknown."""
    saved_usd: float | None = 0.0
    """USD that a hit did not cost."""
    latency_s: float | None = None
    waited_s: float = 0.0
    match: Match | None = None
    error: Problem | None = None
    metadata: Any = None
    item: int | None = None
    """Its number in the journal, where one is kept."""
    recalled: bool = False
    """Whether an earlier run made it."""
    written: bool = False
    """Whether the output file has its line already."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of the output contract: every key is there, absent values are None."""
        error = self.error
        return {
            "seq": self.seq,
            "id": self.id,
            "prompt": self.prompt,
            "status": self.status.value,
            "strategy": self.strategy.value if self.strategy else None,
            "images": [_fields(picture) for picture in self.images],
            "model": self.model,
            "size": self.size,
            "quality": self.quality,
            "key": self.key,
            "attempts": self.attempts,
            "usage": _fields(self.usage) if self.usage else None,
            "cost_usd": rounded(self.cost_usd, 6),
            "saved_usd": rounded(self.saved_usd, 6),
            "latency_s": rounded(self.latency_s, 3),
            "waited_s": rounded(self.waited_s, 3),
            "match": _fields(self.match) if self.match else None,
            "error": {
                "kind": error.kind.value,
                "message": error.message,
                "status": error.status,
                "retryable": error.retryable,
            }
            if error
            else None,
            "metadata": self.metadata,
        }


def _fields(record: Picture | Usage | Match) -> dict[str, Any]:
    return attrs.asdict(record, recurse=False)


def rounded(value: float | None, digits: int) -> float | None:
    """As it is shown; None where it is not known."""
    return None if value is None else round(value, digits)
