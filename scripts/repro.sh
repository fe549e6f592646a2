#!/usr/bin/env bash
# The pipeline with `dvc repro`, as many independent items at a time as there are cores, one thread each.
#
# `dvc repro` alone gives the same result; it runs the items of a matrix one after another. Items are handed to
# `dvc --wait-for-lock repro --single-item`, which takes DVC's lock for bookkeeping only. What is up to date is skipped,
# and the last `dvc repro` finds everything done but the report.
set -euo pipefail
jobs=${JOBS:-$(nproc)}

index_status=$(mktemp)  # empty until the index is made, then the exit status of making it
export index_status
trap 'rm -f "$index_status"' EXIT

group() {  # stages of that group in gsa/pipeline.py, as a regular expression
    python -m gsa.pipeline "$1"
}

items() {  # items of the matrices that match, one a line
    dvc stage list --name-only | grep -E "^($1)@" || true
}

run_item() {  # what is up to date is skipped
    dvc --wait-for-lock repro --single-item "$1"
}

make_index() {  # by the stages given, one after another: as a whole it would ask for files that runs hold
    local stage status=0
    for stage in "$@"; do
        [ "$status" = 0 ] && { run_item "$stage" || status=1; }
    done
    echo "$status" > "$index_status"
    return "$status"
}

run_item_after_index() {
    until [ -s "$index_status" ]; do sleep 1; done
    [ "$(cat "$index_status")" = 0 ] && run_item "$1"
}

at_once() {  # lines of threads, function, argument: as many at a time as there are jobs
    xargs -r -P "$jobs" -L 1 bash -c 'OMP_NUM_THREADS=$0 "$@"'
}
export -f run_item make_index run_item_after_index

dvc repro --force code-stamp  # it takes a second, and the code of your own tasks is not among its dependencies
items "$(group data)" | sed 's/^/1 run_item /' | at_once

# At the quickstart's size pre-training is hardly faster on two cores than on one: the others run what needs no model.
free=$(items "$(group free)")
count=$(grep -c . <<< "$free" || true)
{
    echo "$((count < jobs ? jobs - count : 1)) make_index $(group index | tr '|' ' ')"
    sed 's/./1 run_item &/' <<< "$free"
    items "$(group waiting)" | sed 's/^/1 run_item_after_index /'
} | at_once
dvc repro
