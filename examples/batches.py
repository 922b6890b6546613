"""Arrow in, Arrow out: a Parquet file of prompts becomes one of results, a batch at a time, however long it is.

python examples/batches.py prompts.parquet results.parquet    # needs headrace[arrow] and a headrace.toml

Each batch is a pyarrow.RecordBatch: batch.to_pandas() and polars.from_arrow(batch) are one step further.
"""

import sys
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

import headrace
from headrace import arrow

source, target = sys.argv[1:]
settings = headrace.Settings.load("headrace.toml")


def prompts() -> Iterator[dict[str, Any]]:
    """A prompt a row; all of the row comes back as JSON in the column ``metadata``."""
    for batch in pq.ParquetFile(source).iter_batches(1000):
        for row in batch.to_pylist():
            yield {"prompt": row["prompt"], "metadata": row}


with pq.ParquetWriter(target, arrow.SCHEMA) as writer:
    for batch in arrow.batches(headrace.generate(prompts(), settings), rows=100):
        writer.write_batch(batch)
