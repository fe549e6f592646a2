#!/usr/bin/env bash
# The pipeline with `dvc repro`, as many independent items at a time as there are cores, one thread each.
#
# `dvc repro` alone gives the same result; it runs the items of a matrix one after another. Items are handed to
# `dvc --wait-for-lock repro --single-item`, which takes DVC's lock for bookkeeping only. What is up to date is skipped,
# and the last `dvc repro` finds everything done but the report.
set -euo pipefail
jobs=${JOBS:-$(nproc)}

items() {  # items of the matrices that match, one a line
    dvc stage list --name-only | grep -E "^($1)@" || true
}

at_once() {  # one command a line, so many at a time
    xargs -r -P "$1" -L 1 env
}

with_threads() {  # the command that makes each item read from the input, with that many threads; up-to-date ones are skipped
    sed "s/^/OMP_NUM_THREADS=$1 dvc --wait-for-lock repro --single-item /"
}

dvc repro code-stamp
items 'collect-data|explore-data' | with_threads 1 | at_once "$jobs"

# At the quickstart's size pre-training is hardly faster on two cores than on one. Half of them run what needs no model.
online=$((jobs / 2))
{
    echo "OMP_NUM_THREADS=$((jobs - online)) dvc --wait-for-lock repro build-index"
    items finetune-online | with_threads 1
} | at_once $((online + 1))

items 'finetune|finetune-online' | with_threads 1 | at_once "$jobs"
dvc repro
