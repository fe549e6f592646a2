#!/usr/bin/env bash
# The pipeline with `dvc repro`, as many independent items at a time as there are cores, one thread each.
#
# `dvc repro` alone gives the same result; it runs the items of a matrix one after another. Items are handed to
# `dvc --wait-for-lock repro --single-item`, which takes DVC's lock for bookkeeping only. What is up to date is skipped,
# and the last `dvc repro` finds everything done but the report.
#
# Everything runs in a process group of its own, which ends when this script does: also killed, by whatever signal.
set -euo pipefail
jobs=${JOBS:-$(nproc)}

made=$(mktemp -d)  # a file per model once it and its index are made, with the exit status of making them
export made
trap 'rm -rf "$made"' EXIT

group() {  # stages of that group in gsa/pipeline.py, as a regular expression
    python -m gsa.pipeline "$1"
}

items() {  # items of the matrices that match, one a line
    dvc stage list --name-only | grep -E "^($1)@" || true
}

run_item() {  # what is up to date is skipped
    dvc --wait-for-lock repro --single-item "$1"
}

make_model() {  # its name, and the stages that make it and its index, one after another
    local stage status=0
    for stage in "${@:2}"; do  # as a whole, the last would ask for files that other items hold
        [ "$status" = 0 ] && { run_item "$stage@$1" || status=1; }
    done
    echo "$status" > "$made/$1"
    return "$status"
}

choose_models() {  # when the models named are made, or have failed
    local name status=0
    for name in "$@"; do
        until [ -s "$made/$name" ]; do sleep 1; done
        [ "$(cat "$made/$name")" = 0 ] || status=1
    done
    [ "$status" = 0 ] && { run_item choose-model || status=1; }
    echo "$status" > "$made/.chosen"
    return "$status"
}

run_item_after_models() {
    until [ -s "$made/.chosen" ]; do sleep 1; done
    [ "$(cat "$made/.chosen")" = 0 ] && run_item "$1"
}

at_once() {  # lines of threads, function, arguments: as many at a time as there are jobs
    xargs -r -P "$jobs" -L 1 bash -c 'OMP_NUM_THREADS=$0 "$@"'
}
export -f run_item make_model choose_models run_item_after_models

end_with_script() {  # whose end closes the other end of this pipe
    trap '' TERM
    read -r _ <&"$life" || true
    kill -s TERM 0  # the group: stages save and end within 30 s
    rm -rf "$made"
}

pipeline() {
    end_with_script &
    exec {life}<&-
    dvc repro --force code-stamp  # it takes a second, and the code of your own tasks is not among its dependencies
    items "$(group data)" | sed 's/^/1 run_item /' | at_once
    run_item convert

    # Every line waits for lines above it alone, so that any number of jobs ends. At the quickstart's size pre-training is
    # hardly faster on two cores than on one: models are made side by side, and beside what needs none.
    stages=$(group index)
    models=$(items "${stages%%|*}" | sed 's/.*@//')
    free=$(items "$(group free)")
    spare=$((jobs - $(grep -c . <<< "$free" || true)))
    count=$(wc -l <<< "$models")
    threads=$((spare > count ? spare / count : 1))
    {
        for model in $models; do echo "$threads make_model $model ${stages//|/ }"; done
        sed 's/./1 run_item &/' <<< "$free"
        echo "1 choose_models ${models//$'\n'/ }"
        items "$(group waiting)" | sed 's/^/1 run_item_after_models /'
    } | at_once
    dvc repro
}

mkfifo "$made/pipe"
exec {alive}<>"$made/pipe" {life}<"$made/pipe"
set -m  # a job is a process group
pipeline {alive}>&- < /dev/null &
tree=$!
set +m

stop() {
    trap '' HUP INT TERM
    exec {alive}>&-
    while kill -s 0 -- "-$tree" 2>/dev/null; do sleep 0.2; done
    exit "$1"
}
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM
wait "$tree"
