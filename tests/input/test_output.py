from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from headrace.output import line
from headrace.records import Kind, Problem, Result, Status

TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(st.characters(), max_size=30))
def test_a_line_is_one_line_that_no_terminal_obeys_and_holds_every_text_as_it_was(text: str) -> None:
    error = Problem(kind=Kind.BAD_LINE, message=text)
    result = Result(seq=0, id=text, prompt=text, status=Status.FAILED, error=error, metadata={text: [text]})
    written = line(result)
    shown = written.decode()
    assert shown.endswith("}\n")
    assert not [mark for mark in shown[:-1] if unicodedata.category(mark) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [mark for mark in shown if unicodedata.bidirectional(mark) in TURNING]
    record = json.loads(written)
    assert record["id"] == record["prompt"] == record["error"]["message"] == text
    assert record["metadata"] == {text: [text]}
