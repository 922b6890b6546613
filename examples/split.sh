#!/bin/sh
# Several processes over one Redis: the prompts are dealt out, the limits are shared, the results are joined.
#
#     examples/split.sh prompts.jsonl results.jsonl 4     # needs headrace[redis] and a headrace.toml with [quota] store
#
# One prompt a line, JSON or text. Give each an id: numbers begin anew in each part. Stopped or killed, the same command goes on: each part
# has a folder and a journal of its own. Results are joined when every part has come to its end.
set -eu
prompts=$1 results=$2 processes=$3
parts=$results.parts
mkdir -p "$parts"

# What another number of processes has finished is in other journals, and would be paid for again.
[ "$(cat "$parts/processes" 2>/dev/null || echo "$processes")" = "$processes" ] || {
    echo "$parts was made for $(cat "$parts/processes") processes: go on with as many, or remove it" >&2
    exit 2
}
# In turn, so that all end at about the same time (GNU split; the same prompts are in the same parts again).
split -n "r/$processes" -d -a 3 "$prompts" "$parts/"
echo "$processes" >"$parts/processes"

pids=
trap 'kill $pids 2>/dev/null || true' HUP INT TERM
for part in "$parts"/[0-9][0-9][0-9]; do
    headrace run "$part" --out-dir "$part.out" -o "$part.jsonl" --progress never 2>"$part.log" &
    pids="$pids $!"
done

worst=0
for pid in $pids; do
    # A signal ends the wait and not the process, which finishes what is in flight.
    while status=0; wait "$pid" || status=$?; kill -0 "$pid" 2>/dev/null; do :; done
    [ "$status" -le "$worst" ] || worst=$status
done
if [ "$worst" -gt 1 ]; then
    tail -n 2 "$parts"/[0-9][0-9][0-9].log >&2
else
    cat "$parts"/[0-9][0-9][0-9].jsonl >"$results"
fi
exit "$worst" # as 'headrace run' has it: 0 all answered, 1 some failed, otherwise a part has not come to its end
