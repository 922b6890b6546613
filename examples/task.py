"""A task of Airflow, Dagster or cron: a plain function from one file to another, which may be killed and tried again at any time.

python examples/task.py prompts.jsonl results.jsonl    # needs a headrace.toml

    @task(retries=3)                              # Airflow
    def pictures_of_the_day(day: str) -> dict[str, int]:
        return draw(f"/data/{day}/prompts.jsonl", f"/data/{day}/results.jsonl", {"pool": [{"name": "studio", "tier": 3}]})
"""

import json
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import headrace


def draw(source: str, target: str, tables: Mapping[str, Any]) -> dict[str, int]:
    """Results by status. The target is whole or not there, and once it is there nothing is done.

    What a try that was killed has finished is in the journal of the folder beside the target: it is not paid for again.

    Args:
        source: JSON lines of prompts.
        target: JSON lines of results.
        tables: settings, as in a headrace.toml.

    Raises:
        RuntimeError: some prompts failed for what may pass, such as a server that is down: to be tried again.
    """
    if not Path(target).exists():
        run = dict(tables.get("run", {})) | {"journal": True, "out_dir": f"{target}.pictures"}
        settings = headrace.Settings.from_dict({**tables, "run": run})
        # A try that the scheduler has given up may still be writing its own.
        part, again = Path(f"{target}.{uuid4().hex}.part"), 0
        try:
            with Path(source).open() as lines, part.open("w") as out:
                for result in headrace.generate(map(json.loads, lines), settings):
                    again += result.error is not None and result.error.retryable
                    out.write(json.dumps(result.as_dict()) + "\n")
            if again:
                raise RuntimeError(f"{again} prompts of {source} failed for what may pass")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    with Path(target).open() as lines:
        return Counter(json.loads(line)["status"] for line in lines)


if __name__ == "__main__":
    print(dict(draw(*sys.argv[1:], tomllib.loads(Path("headrace.toml").read_text()))))
