from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from headrace.cache import encoder as module
from headrace.cache.encoder import EncoderError, load, steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_packaged_encoder_is_the_one_that_the_verifier_knows() -> None:
    # The only test that loads it: that takes seconds and 400 MB.
    encoder = load()
    texts = ["a red cube on a blue sphere", "A red cube on a blue sphere", "", "fuchs " * 2_000]
    vectors = encoder.encode(texts)
    assert encoder.fingerprint == "all-MiniLM-L6-v2:53aa51172d142c89"
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert float(vectors[0] @ vectors[1]) > 0.99
    assert float(vectors[0] @ vectors[3]) < 0.5
    assert np.allclose(encoder.encode(texts[:1]), vectors[:1], atol=1e-5), "a batch changes nothing"


def test_what_has_to_be_loaded_is_loaded_in_steps_that_can_be_left() -> None:
    made = steps()
    assert len(made) >= 4
    assert all(callable(step) for step in made)


def test_a_package_that_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEPS", ("headrace_no_such_package",))
    with pytest.raises(EncoderError, match="headrace_no_such_package cannot be imported") as raised:
        steps("any")[1]()
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: None, "holds no model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"others"), "has sha256 " + hashlib.sha256(b"others").hexdigest()[:16]),
    ],
    ids=["no weights", "other weights"],
)
def test_weights_that_are_not_the_ones_are_refused(
    spoil: Callable[[Path], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "headrace_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    spoil(package)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "_PACKAGE", "headrace_weights")
    with pytest.raises(EncoderError, match=said):
        module._packaged()


def test_a_package_of_weights_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PACKAGE", "headrace_no_such_package")
    with pytest.raises(EncoderError, match="is not installed"):
        module._packaged()


HEAVY = "torch sentence_transformers transformers faiss numpy coredis fsspec headrace.shared_cache.opening"
IMPORTS = f"""
import sys
from headrace.cache import answers, store, keys, in_flight, meaning, encoder, judge, inventory, pictures
from headrace import assembly, caching
from headrace.cli import main, cache
print(sorted(set({HEAVY.split()!r}) & set(sys.modules)))
"""


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    ended = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
