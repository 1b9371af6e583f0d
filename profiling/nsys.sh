#!/bin/sh
# A timeline of profiling/workload.py by Nsight Systems, and its summaries as CSV: one report for each rank.
#
#   profiling/nsys.sh --mode fused                # runs/profiles/r_0.nsys-rep, r_0_nvtx_sum.csv ...
#   srun --ntasks 2 profiling/nsys.sh --mode fused                        # r_0 and r_1
#
# Arguments go to workload.py. OUT is the folder of the reports, PYTHON the interpreter.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/profiles}
python=${PYTHON:-$here/../.venv/bin/python}
RANK=${RANK:-${SLURM_PROCID:-${OMPI_COMM_WORLD_RANK:-0}}}
export RANK

if ! command -v nsys >/dev/null; then
  echo "nsys.sh: nsys is not on PATH: install Nsight Systems, or load the module that brings it" >&2
  exit 2
fi
mkdir -p "$out"
rm -f "$out/r_$RANK.nsys-rep"

# kernels inside a CUDA graph show only with =node; it slows the graphs down a little
nsys profile -t cuda,nvtx,cublas --cuda-graph-trace=node \
  --capture-range=cudaProfilerApi --capture-range-end=stop \
  --force-overwrite=true -o "$out/r_%q{RANK}" "$python" "$here/workload.py" "$@"

if [ ! -f "$out/r_$RANK.nsys-rep" ]; then
  echo "nsys.sh: nsys wrote no report: only a GPU backend opens the capture range (see: qnewton doctor)" >&2
  exit 1
fi
nsys stats --report nvtx_sum,nvtx_gpu_proj_sum,nvtx_kern_sum,cuda_gpu_mem_size_sum --format csv \
  --force-export=true --force-overwrite=true --output "$out/r_$RANK" "$out/r_$RANK.nsys-rep"
