"""Are the kernels at the bandwidth of this GPU? All figures in one run on one device, with the yardsticks beside them.

    .venv/bin/python profiling/roofline.py                                  # profiling/results/<device>.json
    .venv/bin/python profiling/roofline.py --only walk_query --out walk.json

Seconds are medians of CUDA events, after a warm-up. Bytes are those that the header of each kernel states. They are
compared with a device copy (bytes read and written), and for random sparsity with a bare gather-copy over the same
index array, where every element that is gathered counts, on both sides. --only and --small write no file but --out.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import operator
import re
import shutil
import statistics
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from gate_fusion import fuse_repeated, gates_of_query
from sparsity_patterns import COLOURS, PATTERNS, matching_register, sparse_matrix

from qnewton_gpu.backends import gpu_programs, select_backend
from qnewton_gpu.backends.cuda_source import REALS, Source, formula, kernels_folder
from qnewton_gpu.backends.gpu_programs import GramProgram, MatchingProgram, SubspaceProgram, WalkProgram
from qnewton_gpu.circuit import Circuit
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.walk import SIGN
from qnewton_gpu.errors import BackendUnavailableError, QNewtonError, UnknownNameError
from qnewton_gpu.operators import GramOperator, MatrixOperator
from qnewton_gpu.polynomials import inverse_polynomial, phases_for
from qnewton_gpu.simulation import run_sequence

HERE = Path(__file__).parent
USAGE_ERROR = 2
DTYPES = ("complex128", "complex64")
OF_BANDWIDTH, TIMES_FASTER, OF_KERNELS = ">= 0.85", ">= 10", "<= 1.2"
PACKAGES = (
    *("cupy-cuda13x", "cupy-cuda12x", "torch", "numpy"),
    *("cuquantum-python-cu13", "cuquantum-python-cu12", "custatevec-cu13", "custatevec-cu12"),
)


@dataclass(frozen=True)
class Sizes:
    """What is measured; the fields are those of a GPU. Every buffer of a bandwidth is far larger than its L2."""

    copy: int = 1 << 27
    """complex128 numbers, 2 GiB."""
    rows: int = 1 << 22
    dense_rows: int = 16384
    factor: tuple[int, int] = (16384, 1210)
    gate_rows: int = 1 << 18
    sequence_rows: int = 1 << 20
    kappa: float = 100.0
    epsilon: float = 1e-4
    launch_rows: int = 1024
    launch_queries: int = 991
    queries: int = 16
    """In each repetition of a kernel: fewer than a CUDA graph is recorded for, and an even number."""
    repetitions: int = 9


SMALL = Sizes(
    copy=1 << 12, rows=64, dense_rows=48, factor=(40, 24), gate_rows=16, sequence_rows=32, kappa=14.0, epsilon=1e-2,
    launch_rows=32, launch_queries=66, queries=2, repetitions=1,
)  # fmt: skip


@dataclass
class Row:
    """One figure: seconds of a query (a whole sequence in `sequence`), and what it is compared with."""

    measurement: str
    name: str
    sizes: dict[str, int] = field(default_factory=dict)
    dtype: str = ""
    seconds: float | None = None
    bytes: float | None = None
    copy_fraction: float | None = None
    """Bytes a second over those of the device copy."""
    compared_with: str = ""
    ratio: float | None = None
    aim: str = ""
    not_measured: str = ""

    @property
    def bytes_per_second(self) -> float | None:
        return self.bytes / self.seconds if self.bytes and self.seconds else None

    @property
    def reached(self) -> bool | None:
        if self.ratio is None or not self.aim:
            return None
        relation, bound = self.aim.split()
        return bool({">=": operator.ge, "<=": operator.le}[relation](self.ratio, float(bound)))

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "bytes_per_second": self.bytes_per_second, "reached": self.reached}

    def __str__(self) -> str:
        def cell(value: float | None, form: str) -> str:
            return "-" if value is None else format(value, form)

        sizes = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
        if self.not_measured:
            return f"{self.name:36s} {sizes}  not measured: {self.not_measured}"
        rate = self.bytes_per_second
        compared = f"{cell(self.ratio, '.3g')} of {self.compared_with}" if self.compared_with else "-"
        reached = {True: f"{self.aim}: yes", False: f"{self.aim}: NO", None: "-"}[self.reached]
        return (
            f"{self.name:36s} {sizes:36s} {self.dtype:10s} {cell(self.seconds, '11.4e'):>11s} "
            f"{cell(self.bytes, '10.4g'):>10s} {cell(rate and rate / 1e9, '7.1f'):>7s} "
            f"{cell(self.copy_fraction, '6.3f'):>6s} {reached:14s} {compared}"
        )


HEADER = (
    f"{'name':36s} {'sizes':36s} {'dtype':10s} {'seconds':>11s} {'bytes':>10s} {'GB/s':>7s} {'copy':>6s} {'aim':14s} "
    "ratio"
)


def gather_copy_source() -> Source:
    """gather_copy.cu for both precisions."""
    text = (kernels_folder() / "common.cuh").read_text() + (HERE / "gather_copy.cu").read_text()
    return Source("gather_copy", text, (*(f"gather_copy<{real}>" for real in REALS.values()), "advance"))


class Bench:
    """What the measurements share: the device, the sizes, the clock, and the device copy."""

    def __init__(self, backend: Any, sizes: Sizes) -> None:
        self.backend, self.xp, self.sizes = backend, backend.xp, sizes
        self.copy_rate = math.nan
        self.phases = np.random.default_rng(0).uniform(-1.5, 1.5, size=sizes.queries)

    def seconds(self, work: Callable[[], object]) -> float:
        """Of the device, from the first to the last thing that `work` asks of it; the median of the repetitions."""
        cuda, times = self.xp.cuda, []
        work()  # compiles, and takes memory
        for _ in range(self.sizes.repetitions):
            first, last = cuda.Event(), cuda.Event()
            first.record()
            work()
            last.record()
            last.synchronize()
            times.append(1e-3 * float(cuda.get_elapsed_time(first, last)))
        return statistics.median(times)

    def seconds_a_query(self, program: Any, kernel: str, dtype: str, *state: Any) -> float:
        """Of a program's kernels alone, launched in a row."""
        phases = [self.phases] * (2 if kernel == "gram_query" else 1)
        queries = gpu_programs.Queries(self.backend, kernel, phases, dtype, None)
        return self.seconds(partial(program.queries, queries, *state)) / self.sizes.queries

    def encoding(self, pattern: str, rows: int, name: str = "walk") -> Any:
        return encode(MatrixOperator(sparse_matrix(pattern, rows), self.backend), self.backend, name)

    def state(self, shape: tuple[int, int], dtype: str) -> Any:
        """Numbers without a pattern, of norm one."""
        size = math.prod(shape)
        return (self.xp.exp(1j * self.xp.arange(size)) / math.sqrt(size)).astype(dtype).reshape(shape)

    def program(self, kernel: str, encoding: Any, dtype: str) -> tuple[Any, list[Any]]:
        """The program of a walk or subspace kernel, and its two buffers."""
        programs: dict[str, Any] = {"walk_query": WalkProgram, "subspace_query": SubspaceProgram}
        program = programs[kernel](self.backend, [encoding], np.dtype(dtype))
        shape = (1, program.size) if kernel == "walk_query" else (program.rows.count, 1)
        return program, [self.state(shape, dtype) for _ in range(2)]

    def row(
        self, measurement: str, name: str, kernel: str, sizes: dict[str, int], dtype: str, seconds: float,
        quantity: str = "bytes",
    ) -> Row:  # fmt: skip
        """A query of a kernel, with the bytes that its header states for these sizes."""
        moved = formula(kernel, quantity, real=np.dtype(dtype).itemsize / 2, **sizes)
        return Row(measurement, name, sizes, dtype, seconds, moved, moved / seconds / self.copy_rate)

    def beside_copy(self, row: Row, aim: str = "") -> Row:
        row.compared_with, row.ratio, row.aim = "the device copy", row.copy_fraction, aim
        return row

    def beside_gather(self, row: Row, source: Any, index: Any, gathered: float = 0.0) -> Iterator[Row]:
        """A gather-copy of `source` by the index array of the row's kernel, and that row compared with it.

        `gathered`: bytes that its kernel gathers beyond those that its header counts, where it counts a vector once.
        """
        assert index.dtype == np.uint32
        xp, count, dtype = self.xp, index.size, source.dtype.name
        kernel = self.backend.kernel(gather_copy_source(), f"gather_copy<{REALS[dtype]}>")
        out, threads, each = xp.empty(count, dtype=dtype), 256, 4  # EACH of gather_copy.cu
        launch = (-(-count // (threads * each)),), (threads,), (source, out, index, np.int64(count))

        def gathers() -> None:
            for _ in range(self.sizes.queries):
                kernel(*launch)

        seconds = self.seconds(gathers) / self.sizes.queries
        moved = (2.0 * source.itemsize + 4) * count
        rate, sizes = moved / seconds, {"count": count}
        name = f"gather_copy of {row.name}"
        yield Row(row.measurement, name, sizes, dtype, seconds, moved, rate / self.copy_rate)
        row.compared_with, row.aim = "a gather-copy", OF_BANDWIDTH
        assert row.bytes and row.seconds
        row.ratio = (row.bytes + gathered) / row.seconds / rate
        yield row


def device_copy(bench: Bench) -> Iterator[Row]:
    """The yardstick: as fast as this device reads and writes."""
    source = bench.state((1, bench.sizes.copy), "complex128")
    target = bench.xp.empty_like(source)

    def copies() -> None:
        for _ in range(bench.sizes.queries):
            bench.xp.copyto(target, source)

    seconds = bench.seconds(copies) / bench.sizes.queries
    moved = 2.0 * source.nbytes
    bench.copy_rate = moved / seconds
    yield Row("device_copy", "device copy", {"count": bench.sizes.copy}, "complex128", seconds, moved, 1.0)


def walk_query(bench: Bench) -> Iterator[Row]:
    for pattern in PATTERNS:
        encoding = bench.encoding(pattern, bench.sizes.rows)
        sizes = {"rows": bench.sizes.rows, "entries": len(encoding.register.gather)}
        for dtype in DTYPES:
            program, buffers = bench.program("walk_query", encoding, dtype)
            seconds = bench.seconds_a_query(program, "walk_query", dtype, buffers)
            row = bench.row("walk_query", f"walk_query, {pattern}", "walk_query", sizes, dtype, seconds)
            if pattern == "band":
                yield bench.beside_copy(row, OF_BANDWIDTH)
            else:
                yield from bench.beside_gather(row, buffers[0], encoding.register.gather & np.uint32(SIGN - 1))


def subspace_query(bench: Bench) -> Iterator[Row]:
    for pattern in PATTERNS:
        encoding = bench.encoding(pattern, bench.sizes.rows)
        indices = encoding.operator.on_device.indices
        sizes = {"rows": bench.sizes.rows, "entries": len(indices)}
        for dtype in DTYPES:
            program, buffers = bench.program("subspace_query", encoding, dtype)
            seconds = bench.seconds_a_query(program, "subspace_query", dtype, buffers)
            row = bench.row("subspace_query", f"subspace_query, {pattern}", "subspace_query", sizes, dtype, seconds)
            if pattern == "band":
                yield bench.beside_copy(row, OF_BANDWIDTH)
                continue
            gathered = float(buffers[0].itemsize * (sizes["entries"] - sizes["rows"]))
            yield from bench.beside_gather(row, buffers[0], indices.view(np.uint32), gathered)


def subspace_query_dense(bench: Bench) -> Iterator[Row]:
    n, xp = bench.sizes.dense_rows, bench.xp
    j = xp.arange(n)
    matrix = 1 / (1.0 + abs(j[:, None] - j))  # convex and falling: positive definite
    encoding = encode(MatrixOperator(matrix, bench.backend), bench.backend, "walk")
    sizes = {"rows": n, "entries": n * n}
    for dtype in DTYPES:
        program, buffers = bench.program("subspace_query", encoding, dtype)
        seconds = bench.seconds_a_query(program, "subspace_query", dtype, buffers)
        name = "subspace_query_dense"
        yield bench.beside_copy(
            bench.row(name, name, "subspace_query", sizes, dtype, seconds, "bytes of the dense form")
        )


def matching_query(bench: Bench) -> Iterator[Row]:
    rows, xp = bench.sizes.rows, bench.xp
    register = matching_register(rows, bench.backend)
    # where the query finds the two amplitudes (l, a, P_l j), in the order of the register
    planes = rows * xp.arange(2 * COLOURS).reshape(COLOURS, 2, 1)
    index = (planes + register.partner[:, None, :]).astype(np.uint32).reshape(-1)
    for dtype in DTYPES:
        program = MatchingProgram(bench.backend, SimpleNamespace(register=register), dtype)
        buffers = [bench.state((1, 2 * COLOURS * rows), dtype) for _ in range(2)]
        seconds = bench.seconds_a_query(program, "matching_query", dtype, buffers)
        sizes = {"rows": rows, "colours": COLOURS}
        row = bench.row("matching_query", "matching_query, random", "matching_query", sizes, dtype, seconds)
        yield from bench.beside_gather(row, buffers[0], index)


def gram_query(bench: Bench) -> Iterator[Row]:
    """One pass of both kernels: two queries."""
    m, n = bench.sizes.factor
    factor = np.random.default_rng(0).standard_normal((m, n))
    encoding: Any = encode(GramOperator(factor, float(m), bench.backend), bench.backend, "gram")
    start = bench.xp.full((n, 1), 1 / math.sqrt(n))
    for dtype in DTYPES:
        program = GramProgram(bench.backend, encoding, dtype)
        psi = bench.xp.ascontiguousarray(encoding.lift(start, "right").T.astype(dtype))
        v = bench.xp.ascontiguousarray(start.T.astype(dtype))
        seconds = bench.seconds_a_query(program, "gram_query", dtype, psi, v)
        sizes = {"rows": m, "columns": n, "tiles": program.tiles}
        row = bench.row("gram_query", "gram_rows + gram_columns", "gram_query", sizes, dtype, seconds)
        yield bench.beside_copy(row)


def gates(bench: Bench) -> Iterator[Row]:
    """The same query on the same register: by matching_query, and as gates of cuStateVec."""
    n, phi = bench.sizes.gate_rows, 0.7
    encoding = bench.encoding("random", n, "matching")
    sizes = {"rows": n, "colours": len(encoding.amplitude)}
    program = MatchingProgram(bench.backend, encoding)
    buffers = [bench.state((1, encoding.register_size), "complex128") for _ in range(2)]
    alone = bench.seconds_a_query(program, "matching_query", "complex128", buffers)
    yield bench.row("gates", "matching_query", "matching_query", sizes, "complex128", alone)

    circuit = gates_of_query(encoding, phi)
    variants = (("one by one", circuit.gates, ""), ("fused", fuse_repeated(circuit.gates), TIMES_FASTER))
    for how, applied, aim in variants:
        row = Row("gates", f"cuStateVec gates, {how}", {**sizes, "gates": len(applied)}, "complex128", aim=aim)
        try:
            start = bench.state((encoding.register_size, 1), "complex128")
            state = bench.backend.state_vector(start, circuit.num_qubits)
        except BackendUnavailableError as problem:
            row.not_measured = str(problem)
        else:
            repeated = Circuit(circuit.num_qubits, applied * bench.sizes.queries)
            row.seconds = bench.seconds(partial(state.run, repeated)) / bench.sizes.queries
            row.compared_with, row.ratio = "matching_query", row.seconds / alone
        yield row


MODES = {"fused": "walk_query", "subspace": "subspace_query"}


def sequence(bench: Bench) -> Iterator[Row]:
    """A whole QSVT sequence, beside its queries' kernels alone."""
    n, xp = bench.sizes.sequence_rows, bench.xp
    encoding = bench.encoding("random", n)
    phases = phases_for(inverse_polynomial(bench.sizes.kappa, bench.sizes.epsilon)).reflection
    start, degree = xp.full((n, 1), 1 / math.sqrt(n)), len(phases) - 1
    for mode, kernel in MODES.items():
        program, buffers = bench.program(kernel, encoding, "complex128")
        alone = bench.seconds_a_query(program, kernel, "complex128", buffers)
        del program, buffers
        whole = bench.seconds(partial(run_sequence, encoding, phases, start, bench.backend, mode=mode))
        yield Row(
            "sequence", f"QSVT sequence, {mode}", {"rows": n, "degree": degree}, "complex128", whole,
            compared_with=f"{degree} {kernel} alone", ratio=whole / (degree * alone), aim=OF_KERNELS,
        )  # fmt: skip


def launches(bench: Bench) -> Iterator[Row]:
    """A small system, where the host may be slower than the kernel: the queries from a CUDA graph, and one by one."""
    n, count = bench.sizes.launch_rows, bench.sizes.launch_queries
    encoding, phases = bench.encoding("random", n), np.resize(bench.phases, count)
    for kernel in MODES.values():
        program, buffers = bench.program(kernel, encoding, "complex128")
        queries = gpu_programs.Queries(bench.backend, kernel, [phases], "complex128", None)

        def all_queries(program: Any = program, queries: Any = queries, buffers: Any = buffers) -> None:
            queries._first.fill(0)  # a graph moves the counter on
            program.queries(queries, buffers)

        graph = bench.seconds(all_queries) / count
        with patch.object(gpu_programs, "STRETCH", count):
            plain = bench.seconds(all_queries) / count
        sizes = {"rows": n, "queries": count}
        yield Row("launches", f"{kernel}, launched one by one", sizes, "complex128", plain)
        yield Row("launches", f"{kernel}, CUDA graph", sizes, "complex128", graph,
                  compared_with="one by one", ratio=graph / plain)  # fmt: skip


MEASUREMENTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    measurement.__name__: measurement
    for measurement in (
        device_copy, walk_query, subspace_query, subspace_query_dense, matching_query, gram_query, gates, sequence,
        launches,
    )
}  # fmt: skip


def surroundings(backend: Any) -> dict[str, Any]:
    """Device, driver and versions: without them a figure says nothing."""
    runtime = backend.xp.cuda.runtime
    return {
        "device": backend.device,
        "driver": _driver(backend.index),
        "cuda_driver": runtime.driverGetVersion(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "versions": {name: number for name in PACKAGES if (number := _version(name))},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _driver(index: int) -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown: nvidia-smi is not on PATH"
    query = ["nvidia-smi", f"--id={index}", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    return (done.stdout if done.returncode == 0 else f"unknown: {done.stderr or done.stdout}").strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NAME", help=f"one of {', '.join(MEASUREMENTS)} (and the device copy)")
    parser.add_argument("--small", action="store_true", help="sizes for a rehearsal on a CPU; no measure of anything")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: profiling/results/<device>.json")
    options = parser.parse_args(arguments)
    if options.only is not None and options.only not in MEASUREMENTS:
        raise UnknownNameError.among("only", options.only, MEASUREMENTS)
    return options


def results_file(options: argparse.Namespace, backend: Any) -> Path | None:
    if options.out or options.only or options.small:
        return options.out
    return HERE / "results" / (re.sub(r"[^a-z0-9]+", "-", backend.device.lower()) + ".json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; 1 if a measurement failed, whose row then says why."""
    options = parse(arguments)
    backend: Any = select_backend("gpu")
    bench, out = Bench(backend, SMALL if options.small else Sizes()), results_file(options, backend)
    report = {**surroundings(backend), "sizes": "small" if options.small else "full", "rows": []}
    print(f"{report['device']}, driver {report['driver']}, {report['versions']}\n{HEADER}", flush=True)
    status = 0
    for name in dict.fromkeys(("device_copy", options.only) if options.only else MEASUREMENTS):
        try:
            for row in MEASUREMENTS[name](bench):
                print(row, flush=True)
                report["rows"].append(row.as_json())
        except Exception as problem:
            if name == "device_copy":
                raise  # nothing can be compared without it
            traceback.print_exc()
            status = 1  # but the rest is still worth the GPU's time
            report["rows"].append(Row(name, name, not_measured=f"{type(problem).__name__}: {problem}").as_json())
        gc.collect()
        torch.cuda.empty_cache()  # CuPy's memory is torch's
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(report, indent=1) + "\n")
    if out:
        print(f"{out} written")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (QNewtonError, OSError) as problem:
        print(f"roofline.py: error: {problem}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
