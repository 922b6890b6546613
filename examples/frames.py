"""A column of pictures for a data frame: pandas, polars, or whatever else takes Arrow.

python examples/frames.py < rows.csv > rows_with_pictures.csv    # needs headrace[arrow], pandas and a headrace.toml

With polars: pl.from_arrow(with_pictures(frame.to_arrow(), "caption")). What can be shared with Arrow is not copied, either way.
"""

import sys

import pandas as pd
import pyarrow as pa

import headrace
from headrace import arrow

settings = headrace.Settings.load("headrace.toml")


def with_pictures(table: pa.Table, column: str) -> pa.Table:
    """The table with the columns ``picture``, the path of each row's first one, and ``problem``, why it has none."""
    prompts = ({"prompt": prompt, "metadata": place} for place, prompt in enumerate(table[column].to_pylist()))
    results = sorted(headrace.generate(prompts, settings), key=lambda result: result.seq)
    found = arrow.batch(results)
    pictures = [images[0]["path"] if images else None for images in found["images"].to_pylist()]
    problems = [error and error["message"] for error in found["error"].to_pylist()]
    return table.append_column("picture", pa.array(pictures, pa.string())).append_column("problem", pa.array(problems, pa.string()))


frame = pd.read_csv(sys.stdin)
with_pictures(pa.Table.from_pandas(frame), "caption").to_pandas().to_csv(sys.stdout, index=False)
