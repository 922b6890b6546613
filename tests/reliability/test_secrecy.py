from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from reliability import secrecy

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_in_nothing_that_a_process_leaves_whatever_goes_wrong() -> None:
    found = {outcome.name: outcome for outcome in secrecy.outcomes(short=True)}
    assert {name: outcome.failures for name, outcome in found.items() if outcome.failures} == {}
    assert found.keys() == {secrecy.FAULT, secrecy.ECHO, secrecy.CRASH, secrecy.ABORT}


@pytest.mark.parametrize("key", secrecy.KEYS)
def test_a_key_that_is_left_somewhere_is_found_in_any_form(tmp_path: Path, key: str) -> None:
    (tmp_path / "said").write_text("nothing at all")
    assert list(secrecy.seen(tmp_path, key)) == []
    for number, form in enumerate((key, key[8:24], base64.b64encode(key.encode()).decode(), key.replace("/", "\\/"))):
        path = tmp_path / "deeper" / str(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x00\xff" + form.encode() + b"\xff")
        (found,) = secrecy.seen(tmp_path, key)
        assert found.startswith(f"{number} holds it")
        path.unlink()
    (tmp_path / f"a{key.replace('/', '')}").touch()
    assert ("named" in str(list(secrecy.seen(tmp_path, key)))) == ("/" not in key)
