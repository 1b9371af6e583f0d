"""A deterministic piece of training to look at in a profiler: warm-up steps, then the steps that are captured.

    .venv/bin/python profiling/workload.py --steps 3 --warmup 2 --mode fused

On a GPU backend cudaProfilerApi brackets the captured steps; on a CPU the same steps run without it. It prints the
loss, the queries and the bytes that came to the host for each captured step, and a digest of the losses and queries:
equal digests say that two runs computed the same numbers, bit for bit.

--log FILE writes the stages of the captured steps, a JSON line a step as in a run's steps.jsonl. --torch-trace FILE
writes a chrome trace of torch.profiler in which every stage is a record_function range "qnewton:STAGE".
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from qnewton_gpu.errors import ParameterError, QNewtonError
from qnewton_gpu.runfolder import to_json
from qnewton_gpu.stages import host_bytes, record_stages
from qnewton_gpu.training import TrainConfig, Training

USAGE_ERROR = 2


def widths(text: str) -> tuple[int, ...]:
    return () if text == "0" else tuple(int(width) for width in text.split(","))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add, default = parser.add_argument, TrainConfig()
    add("--steps", type=int, default=3, help="captured steps (default 3)")
    add("--warmup", type=int, default=2, help="steps before them (default 2)")
    add("--hidden", type=widths, default=default.hidden, metavar="16,16", help="widths of the hidden layers; 0: none")
    add("--solver", default="qsvt", help="as in `qnewton train` (default qsvt, so that there are queries to look at)")
    for name in ("data", "curvature", "partition", "encoding", "mode", "backend"):
        add(f"--{name}", default=getattr(default, name), help="as in `qnewton train` (default %(default)s)")
    for name in ("density", "damping", "tolerance"):
        add(f"--{name}", type=float, default=getattr(default, name), help="as in `qnewton train`")
    add("--batch-size", type=int, default=None, metavar="B", help="the first B examples, in every step (default all)")
    add("--seed", type=int, default=0)
    add("--log", type=Path, default=None, metavar="FILE", help="write the stages of the captured steps")
    add("--torch-trace", type=Path, default=None, metavar="FILE", help="write a chrome trace of the captured steps")
    return parser.parse_args(arguments)


class Workload:
    """The same full-batch steps in every run; torch.profiler and Nsight only differ in what they see of them."""

    def __init__(self, config: TrainConfig) -> None:
        with tempfile.TemporaryDirectory() as folder:  # of the run folder nothing is needed
            training = Training(config, None, Path(folder) / "run")
        self.optimizer = training.optimizer
        device = next(training.network.parameters()).device
        self.inputs = training.data.train_inputs[: config.batch_size].to(device)
        self.targets = training.data.train_targets[: config.batch_size].to(device)

    @property
    def on_gpu(self) -> bool:
        return self.optimizer.scheduler.backend.name == "gpu"

    def step(self, annotate: Callable[[str], AbstractContextManager[Any]] = nullcontext) -> dict[str, Any]:
        copied, epoch_clock = host_bytes(), time.time() - time.perf_counter()
        with record_stages(annotate) as events:
            report = self.optimizer.step(self.inputs, self.targets)
        return {
            "step": report.step,
            "loss": report.new_loss,
            "accepted": report.accepted,
            "queries": sum(system["queries"] for system in report.systems),
            "simulated_seconds": report.seconds,
            "host_bytes": host_bytes() - copied,
            "stages": [{**asdict(event), "start": event.start + epoch_clock} for event in events],
        }


def capture_range(on_gpu: bool) -> AbstractContextManager[Any]:
    """cudaProfilerStart and cudaProfilerStop around the block: what nsys and ncu wait for."""
    return torch.cuda.profiler.profile() if on_gpu else nullcontext()


def torch_profiler() -> torch.profiler.profile:
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    return torch.profiler.profile(activities=kinds)


def run(workload: Workload, warmup: int, steps: int, trace: Path | None) -> list[dict[str, Any]]:
    """The log lines of the captured steps."""
    for _ in range(warmup):
        workload.step()
    profiler = torch_profiler() if trace else None
    annotate = torch.profiler.record_function if trace else nullcontext
    with capture_range(workload.on_gpu), profiler or nullcontext():
        lines = [workload.step(annotate) for _ in range(steps)]
        if workload.on_gpu:
            torch.cuda.synchronize()  # kernels that still run would fall out of the range
    if profiler:
        profiler.export_chrome_trace(str(trace))
    return lines


def digest(lines: list[dict[str, Any]]) -> str:
    text = "".join(f"{line['loss'].hex()} {line['queries']}\n" for line in lines)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.steps < 1 or options.warmup < 0:
        problem = f"{options.steps} captured and {options.warmup} warm-up steps"
        raise ParameterError("steps", problem, "Give --steps of 1 or more and --warmup of 0 or more")
    for file in filter(None, (options.log, options.torch_trace)):
        file.touch()  # what cannot be written is said before the work, not after it
    chosen = {k: v for k, v in vars(options).items() if k not in ("steps", "warmup", "log", "torch_trace")}
    workload = Workload(TrainConfig(steps=options.warmup + options.steps, **chosen))
    device = workload.optimizer.scheduler.backend.device
    print(f"{device}: {options.warmup} warm-up steps, then {options.steps} captured", flush=True)
    lines = run(workload, options.warmup, options.steps, options.torch_trace)
    if options.log:
        options.log.write_text("".join(to_json(line) + "\n" for line in lines))
    for line in lines:
        print("step {step}  loss {loss:.12f}  queries {queries}  host bytes {host_bytes}".format(**line))
    print(f"digest {digest(lines)}  loss {lines[-1]['loss']:.12f}  queries {sum(line['queries'] for line in lines)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (QNewtonError, OSError) as problem:
        print(f"workload.py: error: {problem}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
