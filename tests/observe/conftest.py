from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def logs_put_back() -> Iterator[None]:
    """The logger and the hook for crashes are as before once the test is over."""
    logger = logging.getLogger("headrace")
    before = logger.handlers[:], logger.level, logger.propagate
    hook = sys.excepthook
    yield
    sys.excepthook = hook
    logger.handlers[:], logger.level, logger.propagate = before
