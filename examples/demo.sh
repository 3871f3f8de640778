#!/usr/bin/env bash
# A guided tour: train a small language model on the Python standard library's sources, as a job.
#
# submit, tail, save by command, stop by command, resume, look at the result. Everything happens in .demo/ and
# nothing of yours is touched. Two to four minutes on two CPU cores.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
demo=$here/.demo
export FORGATHER_HOME=$demo/forgather
SAVE_AT=${SAVE_AT:-60}
STOP_AT=${STOP_AT:-120}
PATIENCE_S=600

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { say "\$ $*"; "$@"; }

step_of() { forgather job status --json "$1" | python -c 'import json, sys; print((json.load(sys.stdin)["training"] or {}).get("global_step") or 0)'; }
ended() { forgather job status --json "$1" | grep -q '"state": "done"'; }
wait_for_step() { # JOB STEP
    local until=$((SECONDS + PATIENCE_S))
    until [ "$(step_of "$1")" -ge "$2" ]; do
        ended "$1" && { echo "demo: $1 ended before step $2" >&2; forgather job status "$1" >&2; return 1; }
        [ $SECONDS -lt $until ] || { echo "demo: $1 has not come to step $2 in $PATIENCE_S s" >&2; return 1; }
        sleep 0.5
    done
}
job_in() { sed -n 's/^queued: \(q_[0-9]*_[0-9a-f]*\) .*/\1/p'; }

rm -rf "$demo"
mkdir -p "$demo"
cp -r "$here/examples/stdlib-lm" "$demo/project"
cd "$demo/project"

say "A training run is a config; this one trains a small GPT on the Python standard library's sources."
run forgather ls

say "Queue it. It asks for no card, so it runs on the CPU."
say '$ forgather -t train.yaml train --enqueue --requested-gpus 0 --name first'
answer=$(forgather -t train.yaml train --enqueue --requested-gpus 0 --name first)
echo "$answer"
job=$(job_in <<<"$answer")
run forgather sched status

say "Follow it while it trains. (In your terminal, Ctrl-C would leave the job alone.)"
say "\$ forgather job tail $job"
forgather job tail --from-start "$job" &
tail=$!

wait_for_step "$job" "$SAVE_AT"
say "From another terminal: save a checkpoint now, and go on."
run forgather job save "$job"

wait_for_step "$job" "$STOP_AT"
say "Enough for now: save, then stop."
run forgather job save-stop "$job"
wait "$tail"

run forgather job status "$job"

say "Resume where it stopped; the same optimizer, the same position in the data, the same losses as without a break."
say '$ forgather -t train.yaml train --enqueue --requested-gpus 0 --name second --resume'
answer=$(forgather -t train.yaml train --enqueue --requested-gpus 0 --name second --resume)
echo "$answer"
second=$(job_in <<<"$answer")
run forgather job tail --from-start "$second"

run forgather sched list
run forgather job status "$second"
say "What it learned:"
run forgather logs summary
run forgather logs plot --compare -o "$demo/loss.png"
run forgather logs plot --terminal

say "Everything lies in $demo:"
echo "  the loss, drawn         $demo/loss.png"
echo "  checkpoints and logs    $demo/project/output_models/"
echo "  the spool and its jobs  $FORGATHER_HOME"
echo "  this job's output       forgather job dump $second   (FORGATHER_HOME=$FORGATHER_HOME)"
