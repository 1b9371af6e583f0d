#!/bin/bash
# How do I train longer than the time limit of one job?
#
#     sbatch examples/train_past_the_time_limit.sh --steps 500 --hidden 64
#
# with `qnewton` on the PATH; the arguments are those of `qnewton train`. 120 s before the time limit SLURM signals this
# script (B: it alone). The run then ends its step, and the job goes back into the queue and resumes when it starts
# again. Where a step takes longer than that, raise the 120. scancel ends the run in the same way, without the queue.
#SBATCH --job-name=qnewton
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
set -u
cd "$SLURM_SUBMIT_DIR" || exit
run=runs/job-$SLURM_JOB_ID # a requeued job keeps its number

# a node whose GPU does not work ends the job: "auto" would go on with the CPU for hours
export QNEWTON_BACKEND="${QNEWTON_BACKEND:-gpu}"

caught=
child=
forward() {
    caught=$1
    [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null
}
trap 'forward USR1' USR1
trap 'forward TERM' TERM

# in the background: bash runs no trap before a command in the foreground has ended
if [[ -f $run/config.json ]]; then
    qnewton train --resume "$run" &
else
    qnewton train --threads "${SLURM_CPUS_PER_TASK:-1}" "$@" --out "$run" &
fi
child=$!
[[ -z $caught ]] || kill -s "$caught" "$child" # it came while the run was being started

while kill -0 "$child" 2>/dev/null; do
    wait "$child" # until the run ends, or a trap has run
done
wait "$child"
status=$?

# 75: stopped and ready to resume; 138: USR1 came so early that the run had not begun
if [[ $caught == USR1 && ($status == 75 || $status == 138) ]]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
