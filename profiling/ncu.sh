#!/bin/sh
# Counters of our own kernels inside the stage `solve` of profiling/workload.py, by Nsight Compute.
#
#   profiling/ncu.sh --mode fused                 # runs/profiles/ncu_0.ncu-rep
#   LAUNCHES=5 profiling/ncu.sh --hidden 64       # fewer launches: each one is run again for every group of counters
#
# Arguments go to workload.py. OUT is the folder of the report, PYTHON the interpreter, LAUNCHES how many are looked at.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/profiles}
python=${PYTHON:-$here/../.venv/bin/python}
RANK=${RANK:-${SLURM_PROCID:-${OMPI_COMM_WORLD_RANK:-0}}}
export RANK

if ! command -v ncu >/dev/null; then
  echo "ncu.sh: ncu is not on PATH: install Nsight Compute, or load the module that brings it" >&2
  exit 2
fi
mkdir -p "$out"

# domain@range/ : the slash says that it is a push/pop range
ncu --nvtx --nvtx-include "qnewton@solve/" --clock-control none --profile-from-start off \
  --kernel-name-base function --kernel-name "regex:walk_query|matching_query|gram_rows|gram_columns|subspace_query" \
  --launch-count "${LAUNCHES:-20}" --set full --force-overwrite --export "$out/ncu_$RANK" \
  "$python" "$here/workload.py" --steps 1 "$@"
