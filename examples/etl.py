"""A stage of an ETL job: rows in, rows with a picture out, never more in memory than what is in flight.

python examples/etl.py < rows.csv > rows_with_pictures.csv
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import headrace

settings = headrace.Settings.from_dict({"run": {"simulate": True, "out_dir": "headrace-out"}})


def with_pictures(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Each row with the path of its picture, as they come."""
    prompts = ({"prompt": row["prompt"], "metadata": row} for row in rows)
    for result in headrace.generate(prompts, settings):
        yield {**result.metadata, "picture": result.images[0].path if result.images else "", "error": result.error and result.error.message}


rows = csv.DictReader(sys.stdin)
out = csv.DictWriter(sys.stdout, [*rows.fieldnames, "picture", "error"])
out.writeheader()
out.writerows(with_pictures(rows))
