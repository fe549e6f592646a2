#!/usr/bin/env bash
# The pipeline with `dvc repro`, as many independent items at a time as there are cores, one thread each.
#
# `dvc repro` alone gives the same result; it runs the items of a matrix one after another. Items are handed to
# `dvc --wait-for-lock repro --single-item`, which takes DVC's lock for bookkeeping only. What is up to date is skipped,
# and the last `dvc repro` finds everything done but the report.
set -euo pipefail
jobs=${JOBS:-$(nproc)}

items() {  # items of a matrix that are not up to date, one a line
    dvc stage list --name-only | grep -E "^($1)@" || true
}

parallel() {
    items "$1" | OMP_NUM_THREADS=1 xargs -r -P "$jobs" -n 1 dvc --wait-for-lock repro --single-item
}

dvc repro code-stamp
parallel 'collect-data|explore-data'
dvc repro build-index
parallel finetune
dvc repro
