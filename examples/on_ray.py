"""A stage of a Ray Data job: Parquet in, Parquet out, with a picture for each row; the limits are shared by all actors.

python examples/on_ray.py /data/prompts.parquet /data/drawn 2    # needs headrace[ray,redis] and a headrace.toml with [quota] store

Name files by whole paths or URLs: Ray's workers have folders of their own. Paths in the column headrace_images are below the output
folder, and below [cache] shared where that is set: there other machines find them.
"""

import sys

import ray

import headrace

source, target, actors = sys.argv[1], sys.argv[2], int(sys.argv[3])
settings = headrace.Settings.load("headrace.toml")

drawn = headrace.ray.generate(ray.data.read_parquet(source), settings, concurrency=actors, prompt_column="caption", id_column="sku")
# A dataset is lazy, and what it costs is paid whenever it runs: it is written once, and looked at afterwards.
drawn.write_parquet(target)
print(ray.data.read_parquet(target).select_columns(["headrace_status"]).to_pandas().value_counts())
