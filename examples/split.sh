#!/bin/sh
# Several processes over one Redis: the prompts are dealt out, the limits are shared, the results are joined.
#
#     examples/split.sh prompts.jsonl results.jsonl 4     # needs headrace[redis] and a headrace.toml with [quota] store
#
# Give prompts an id: numbers begin anew in each part. Killed, the same command goes on: each part has a folder and a journal of its own.
set -eu
prompts=$1 results=$2 processes=$3
parts=$results.parts
mkdir -p "$parts"

# In turn, so that all end at about the same time (GNU split; the same prompts are in the same parts again).
split -n "r/$processes" -d -a 3 "$prompts" "$parts/"

pids=
trap 'kill $pids 2>/dev/null || true' INT TERM
for part in "$parts"/[0-9][0-9][0-9]; do
    headrace run "$part" --out-dir "$part.out" -o "$part.jsonl" --progress never 2>"$part.log" &
    pids="$pids $!"
done

worst=0
for pid in $pids; do
    status=0
    wait "$pid" || status=$?
    [ "$status" -le "$worst" ] || worst=$status
done
cat "$parts"/[0-9][0-9][0-9].jsonl >"$results"
exit "$worst" # as 'headrace run' has it: 0 all answered, 1 some failed
