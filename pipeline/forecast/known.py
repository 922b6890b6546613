"""What the cache of a run with these settings would give: its rules, and the answers that it has already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cache.audit import Audit, Stored
from headrace.cache.database import FILE
from headrace.cache.store import Store
from headrace.caching import BY_KEY, BY_MEANING, DAY_S, TIERS, folder_of, judge_of
from headrace.errors import HeadraceError
from headrace.log import log

if TYPE_CHECKING:
    from contextlib import ExitStack

    from headrace.cache.encoder import Encoder
    from headrace.cache.judge import Judge
    from headrace.settings import Settings

MOST_COMPARED = 10_000
"""Prompts that are compared by meaning, which takes 8 ms and 4 KB each."""


def audit_of(settings: Settings, api: str, stack: ExitStack) -> Audit | None:
    """What rules over prompts; None without a cache. The ``stack`` closes it.

    Raises:
        UsageError: the cache or the verifier cannot be used.
    """
    cache = settings.cache
    if cache.policy == "off":
        return None
    judge = judge_of(cache) if cache.policy in BY_MEANING else None
    encoder = None if judge is None else _encoder(cache.encoder, judge)
    folder = Path(os.path.expanduser(folder_of(settings, Path(settings.run.out_dir))))  # noqa: PTH111 - without a home there is no cache
    stored = None
    if (folder / FILE).is_file():
        store = Store(folder, cache.ttl_days * DAY_S)
        stack.callback(store.close)
        search = None
        if encoder is not None and judge is not None:
            from headrace.cache.search import Search  # noqa: PLC0415 - FAISS and numpy only where they are wanted

            search = Search(folder, encoder, judge.floor, cache.ttl_days * DAY_S)
            stack.callback(search.close)
        stored = Stored(store=store, search=search)
    judge = None if encoder is None else judge
    tiers = TIERS.get(cache.policy, BY_KEY)
    return Audit(encoder, judge, cache.namespace, tiers, api=api, stored=stored, most=MOST_COMPARED)


def _encoder(name: str, judge: Judge) -> Encoder | None:
    from headrace.cache.encoder import load  # noqa: PLC0415 - see above

    try:
        encoder = load(name)
        judge.check(encoder.fingerprint)
    except HeadraceError as error:
        # As in a run.
        log.warning("encoder_unusable", error=str(error), consequence="prompts are matched by their content words only")
        return None
    return encoder
