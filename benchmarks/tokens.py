"""Development check: our counter of prompt tokens against the vendor's vocabulary.

Usage: ``python benchmarks/tokens.py PROMPTS_FILE [...]``, where a file has one prompt a line, or is a TSV file with a column ``Prompt``.
Prints the ratio of our count to the vendor's (o200k and a fixed overhead a request): in sum, and its 5th, 50th and 95th percentile.
Needs ``bpe-openai``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import quantiles

from prompt_files import prompts_of

from headrace.tokens import OVERHEAD_TOKENS, prompt_tokens


def main() -> int:
    """Print one line a file; 2 without the vocabulary or without prompts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="PROMPTS_FILE")
    files: list[Path] = parser.parse_args().files
    try:
        import bpe_openai  # noqa: PLC0415 - a development tool that may be missing
    except ImportError:
        print("bpe_openai is not installed: pip install bpe-openai", file=sys.stderr)
        return 2
    vocabulary = bpe_openai.get_encoding("o200k_base")
    print(f"{'file':32} {'prompts':>8} {'tokens':>9} {'ratio':>7} {'p5':>6} {'p50':>6} {'p95':>6}")
    for path in files:
        try:
            prompts = prompts_of(path)
        except (OSError, UnicodeDecodeError) as error:
            print(f"{path} cannot be read: {error}", file=sys.stderr)
            return 2
        pairs = [(prompt_tokens(prompt), len(vocabulary.encode(prompt)) + OVERHEAD_TOKENS) for prompt in prompts]
        if len(pairs) < 2:  # noqa: PLR2004 - percentiles need two
            print(f"{path} holds {len(pairs)} prompts; at least 2 are needed", file=sys.stderr)
            return 2
        ours, theirs = (sum(counts) for counts in zip(*pairs, strict=True))
        percentiles = quantiles([mine / real for mine, real in pairs], n=20, method="inclusive")
        print(
            f"{path.name:32} {len(pairs):8,} {theirs:9,} {ours / theirs:7.3f} "
            f"{percentiles[0]:6.2f} {percentiles[9]:6.2f} {percentiles[-1]:6.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
