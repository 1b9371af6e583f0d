"""Whole sequences of queries by the kernels of kernels/*.cu: launched one by one, or replayed from a CUDA graph.

A register of k columns is k planes here, (k, register_size); the rows of several systems stand behind each other, and
a system whose circuit has ended keeps what it has while longer ones go on.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import NotEnoughMemoryError
from .base import Side
from .cuda_source import COLUMNS, LANES, REALS, source

if TYPE_CHECKING:
    from .gpu import GpuBackend

THREADS = 256
STRETCH = 32
"""Queries in a recorded graph; even, so that it ends with the buffers as it found them."""
SHARED_BYTES = 48 * 1024
LARGEST_REGISTER = 2**31
"""Amplitudes that the gather index of a register can name: 31 bits and a sign."""
MOST_COLUMNS = 65535
"""Blocks that a grid may have in y."""
BATCHED_ENTRIES = 2**24
"""Matrix entries of systems that share launches: larger ones fill a GPU alone, and are not copied behind each other."""
NULL = np.uint64(0)


def register_program(backend: GpuBackend, encodings: Sequence[Any], dtype: str) -> Any:
    """The program for these encodings, or None where there are no kernels for them."""
    if {encoding.name for encoding in encodings} == {"walk"}:
        return WalkProgram(backend, encodings, dtype) if _small_enough(encodings) else None
    alone = {"matching": MatchingProgram, "gram": GramProgram}
    if len(encodings) == 1 and hasattr(encodings[0], "register") and encodings[0].name in alone:
        return alone[encodings[0].name](backend, encodings[0], dtype)
    return None


def subspace_program(backend: GpuBackend, encodings: Sequence[Any], dtype: str) -> SubspaceProgram | None:
    """The recurrence for symmetric encodings of explicit matrices, or None."""
    explicit = all(e.symmetric and hasattr(e.operator, "on_device") for e in encodings)
    return SubspaceProgram(backend, encodings, dtype) if explicit and _small_enough(encodings) else None


def _small_enough(encodings: Sequence[Any]) -> bool:
    return len(encodings) == 1 or sum(e.operator.nonzeros for e in encodings) <= BATCHED_ENTRIES


class Queries:
    """The phases of one or more systems on the device, query by query, and the loop over them.

    `phases` are reflection phases in the order in which they act, the one before the first query left out; (queries,)
    for each system.
    """

    def __init__(self, backend: GpuBackend, name: str, phases: Sequence[np.ndarray], dtype: Any, systems: Any) -> None:
        xp = backend.xp
        self.backend, self.source = backend, source(name, REALS[np.dtype(dtype).name])
        self.count = max(len(p) for p in phases)
        table = np.zeros((self.count, len(phases), 2), dtype=np.complex128)
        for system, phi in enumerate(phases):
            table[: len(phi), system, 0] = np.exp(-1j * phi)
            table[: len(phi), system, 1] = np.expm1(2j * phi)
        self._phases = xp.asarray(table.astype(dtype))
        self._first = xp.zeros(1, dtype=np.int32)
        self._degrees = xp.asarray(np.array([len(phi) for phi in phases], dtype=np.int32))
        self._systems = systems
        self._width = np.int32(len(phases))

    def arguments(self, offset: int) -> tuple[Any, ...]:
        """What every query kernel takes last: which query of which sequence it is."""
        systems = NULL if self._systems is None else self._systems
        return self._phases, self._first, self._degrees, systems, np.int32(offset), self._width

    def kernel(self, expression: str) -> Any:
        return self.backend.kernel(self.source, expression)

    def run(self, launch: Callable[[int], None]) -> None:
        """launch(0), ..., launch(count - 1): whole stretches as a graph, so that no launch waits for the host."""
        stretches = self.count // STRETCH
        if stretches < 2:
            stretches = 0  # recording costs what a stretch costs
        if stretches:
            graph = self._record(launch)
            for _ in range(stretches):
                graph.launch(self.backend.stream)
            self.backend.synchronize()  # the graph must outlive its run
        for offset in range(self.count - stretches * STRETCH):
            launch(offset)

    def _record(self, launch: Callable[[int], None]) -> Any:
        advance = self.kernel("advance")  # compiled before the recording begins
        recorder = self.backend.xp.cuda.Stream(non_blocking=True)
        with recorder:
            recorder.begin_capture()
            try:
                for offset in range(STRETCH):
                    launch(offset)
                advance((1,), (1,), (self._first, np.int32(STRETCH)))
            finally:
                graph = recorder.end_capture()
        self.backend.stream.use()  # CuPy goes back to what was entered last, which is another one after use()
        return graph


class _Rows:
    """Where the rows of each system begin, all systems behind each other, and the system of each row."""

    def __init__(self, backend: GpuBackend, sizes: Sequence[int]) -> None:
        self.starts = [0, *accumulate(sizes)]
        self.count = self.starts[-1]
        system_of_row = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        self.systems = backend.xp.asarray(system_of_row) if len(sizes) > 1 else None

    def parts(self) -> Iterator[slice]:
        return (slice(a, b) for a, b in zip(self.starts, self.starts[1:], strict=False))


def _real(dtype: np.dtype) -> np.dtype:
    """The dtype of the two parts of a complex number."""
    real: np.dtype = dtype.type(0).real.dtype
    return real


def _joined(xp: Any, arrays: Sequence[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else xp.concatenate(arrays)


def _moved(indices: Any, by: int) -> Any:
    return indices + indices.dtype.type(by) if by else indices


def _joined_starts(xp: Any, starts: Sequence[Any], entries: Sequence[int]) -> Any:
    """The CSR row starts of matrices behind each other, (rows + 1,)."""
    if len(starts) == 1:
        return starts[0]
    first = [0, *accumulate(entries)]
    parts = [_moved(s[:-1], by) for s, by in zip(starts, first, strict=False)]
    return xp.concatenate([*parts, xp.full(1, first[-1], dtype=np.int32)])


def _lanes(slots_a_row: float, held: int) -> int:
    """Threads for a row: the fewest with which a mean row needs at most `held` steps."""
    return next((lanes for lanes in LANES if lanes * held >= slots_a_row), LANES[-1])


def _check_columns(columns: int) -> None:
    if columns > MOST_COLUMNS:
        problem = "has more right-hand sides than a kernel takes at once"
        raise NotEnoughMemoryError("b", problem, "Solve them in parts")


def _blocks(threads: int, block: int = THREADS) -> int:
    return -(-threads // block)


class WalkProgram:
    """walk_query for one or more walk encodings."""

    def __init__(self, backend: GpuBackend, encodings: Sequence[Any], dtype: Any = np.complex128) -> None:
        self.backend, self.dtype = backend, np.dtype(dtype)
        tables, xp, real = [e.register for e in encodings], backend.xp, _real(self.dtype)
        self.rows = _Rows(backend, [len(t.slack) for t in tables])
        self.places = [0, *accumulate(e.register_size for e in encodings)]
        self.size = self.places[-1]
        if self.size >= LARGEST_REGISTER:
            problem = f"a register of {self.size} amplitudes is beyond the {LARGEST_REGISTER} that the kernels index"
            raise NotEnoughMemoryError("mode", problem, "Use mode='subspace', which is exact")
        self.starts = _joined_starts(xp, [t.starts for t in tables], [len(t.gather) for t in tables])
        self.gather = _joined(xp, [_moved(t.gather, place) for t, place in zip(tables, self.places, strict=False)])
        self.amplitude = _joined(xp, [t.amplitude.astype(real, copy=False) for t in tables])
        self.slack = _joined(xp, [t.slack.astype(real, copy=False) for t in tables])
        self.lanes = _lanes(self.size / self.rows.count, held=4)

    def run(self, phases: Sequence[Any], starts: Sequence[Any], side: Side) -> list[tuple[Any, Any]]:
        xp, rows = self.backend.xp, self.rows
        queries = Queries(self.backend, "walk_query", [p[:-1][::-1] for p in phases], self.dtype, rows.systems)
        # T v exp(i phi_d): what the phase before the first query leaves
        first = [cmath.exp(1j * p[-1]) * v for p, v in zip(phases, starts, strict=True)]
        v = xp.ascontiguousarray(_joined(xp, first).T.astype(self.dtype))
        columns = len(v)
        _check_columns(columns)
        buffers = [xp.empty((columns, self.size), dtype=self.dtype) for _ in range(2)]
        lift, lower, grid = self._kernel(queries, "lift"), self._kernel(queries, "lower"), self._grid(columns)
        tables = (*self._shape, self.starts, self.amplitude, self.slack)
        lift(grid, (THREADS,), (v, buffers[0], *tables))
        self.queries(queries, buffers)
        ends = [(len(p) - 1) % 2 for p in phases]
        lowered = {}
        for end in set(ends):
            lowered[end] = xp.empty_like(v)
            lower(grid, (THREADS,), (buffers[end], lowered[end], *tables))
        places = zip(self.places, self.places[1:], strict=False)
        return [
            (buffers[end][:, a:b].T, lowered[end][:, part].T)
            for end, (a, b), part in zip(ends, places, rows.parts(), strict=True)
        ]

    @property
    def _shape(self) -> tuple[Any, ...]:
        return np.int64(self.size), np.int32(self.rows.count)

    def _kernel(self, queries: Queries, part: str) -> Any:
        return queries.kernel(f"walk_{part}<{REALS[self.dtype.name]}, {self.lanes}>")

    def _grid(self, columns: int) -> tuple[int, int]:
        return _blocks(self.rows.count * self.lanes), columns

    def queries(self, queries: Queries, buffers: Sequence[Any]) -> None:
        """All queries on the two buffers in turn, the first one from buffers[0] into buffers[1]."""
        kernel, grid = self._kernel(queries, "query"), self._grid(len(buffers[0]))
        tables = (*self._shape, self.starts, self.gather, self.amplitude, self.slack)

        def query(offset: int) -> None:
            psi, result = buffers[offset % 2], buffers[1 - offset % 2]
            kernel(grid, (THREADS,), (psi, result, *tables, *queries.arguments(offset)))

        queries.run(query)


class MatchingProgram:
    """matching_query for one matching encoding."""

    def __init__(self, backend: GpuBackend, encoding: Any, dtype: Any = np.complex128) -> None:
        self.backend, self.encoding, self.dtype = backend, encoding, np.dtype(dtype)
        table, real = encoding.register, _real(self.dtype)
        self.colours, self.rows = table.partner.shape
        self.tables = (table.partner, table.cosine.astype(real, copy=False), table.amplitude.astype(real, copy=False))
        fitting = SHARED_BYTES // (self.colours * self.dtype.itemsize)
        self.in_shared_memory = fitting >= 32
        self.threads = min(128, fitting // 32 * 32) if self.in_shared_memory else 128

    def run(self, phases: Sequence[Any], starts: Sequence[Any], side: Side) -> list[tuple[Any, Any]]:
        xp, (phi,), (start,) = self.backend.xp, phases, starts
        queries = Queries(self.backend, "matching_query", [phi[:-1][::-1]], self.dtype, None)
        psi = self.encoding.lift(cmath.exp(1j * phi[-1]) * start)
        buffers = [xp.ascontiguousarray(psi.T.astype(self.dtype, copy=False))]
        del psi
        buffers.append(xp.empty_like(buffers[0]))
        self.queries(queries, buffers)
        psi = buffers[queries.count % 2].T
        return [(psi, self.encoding.lower(psi))]

    def queries(self, queries: Queries, buffers: Sequence[Any]) -> None:
        """All queries on the two buffers in turn, the first one from buffers[0] into buffers[1]."""
        kernel = queries.kernel(f"matching_query<{REALS[self.dtype.name]}>")
        columns, size = buffers[0].shape
        _check_columns(columns)
        grid = (_blocks(self.rows, self.threads), columns)
        shared = self.colours * self.threads * self.dtype.itemsize if self.in_shared_memory else 0
        sizes = (np.int64(size), np.int32(self.rows), np.int32(self.colours))

        def query(offset: int) -> None:
            psi, result = buffers[offset % 2], buffers[1 - offset % 2]
            arguments = (psi, result, *sizes, *self.tables, np.int32(self.in_shared_memory))
            kernel(grid, (self.threads,), (*arguments, *queries.arguments(offset)), shared_mem=shared)

        queries.run(query)


class GramProgram:
    """gram_query for one gram encoding: a right and a left phase in each pass over the register."""

    MOST_THREADS, MOST_TILES, TILES_A_SUM = 512, 528, 8

    def __init__(self, backend: GpuBackend, encoding: Any, dtype: Any = np.complex128) -> None:
        self.backend, self.encoding, self.dtype = backend, encoding, np.dtype(dtype)
        table, real = encoding.register, _real(self.dtype)
        self.weight, self.unit = table.weight.astype(real, copy=False), table.unit.astype(real, copy=False)
        self.rows, self.columns = self.unit.shape
        self.threads = min(self.MOST_THREADS, -(-self.columns // 128) * 32)  # four columns a thread, where that goes
        self.tiles = min(self.rows + 1, self.MOST_TILES)

    def run(self, phases: Sequence[Any], starts: Sequence[Any], side: Side) -> list[tuple[Any, Any]]:
        xp, (phi,), (start,) = self.backend.xp, phases, starts
        psi = xp.ascontiguousarray(self.encoding.lift(start.astype(self.dtype), side).T)
        # the phases in pairs, right then left; a pass without one of them turns nothing there
        order = np.concatenate([[0.0] if side == "left" else [], phi[::-1]])
        ends_right = len(order) % 2 == 1
        pairs = np.append(order, [0.0] * ends_right).reshape(-1, 2)
        queries = Queries(self.backend, "gram_query", [pairs[:, 0], pairs[:, 1]], self.dtype, None)
        v = xp.ascontiguousarray(start.T.astype(self.dtype)) if side == "right" else xp.zeros(
            (len(psi), self.columns), dtype=self.dtype
        )  # fmt: skip
        self.queries(queries, psi, v)
        psi = psi.T
        return [(psi, v.T if ends_right else self.encoding.lower(psi, "left"))]

    def queries(self, queries: Queries, psi: Any, v: Any) -> None:
        """All passes over psi in place; v is T_R^t psi, before them and after."""
        real, planes = REALS[self.dtype.name], len(psi)
        _check_columns(planes)
        rows, sums = queries.kernel(f"gram_rows<{real}>"), queries.kernel(f"gram_columns<{real}>")
        partial = self.backend.xp.empty((planes, self.tiles, self.columns), dtype=self.dtype)
        sizes, itemsize = (np.int32(self.rows), np.int32(self.columns)), self.dtype.itemsize

        def one_pass(offset: int) -> None:
            rows(
                (self.tiles, planes), (self.threads,),
                (psi, v, partial, *sizes, self.weight, self.unit, *queries.arguments(offset)),
                shared_mem=self.threads // 32 * itemsize,
            )  # fmt: skip
            sums(
                (_blocks(self.columns, 32), planes), (32, self.TILES_A_SUM),
                (partial, v, np.int32(self.tiles), sizes[1]), shared_mem=32 * self.TILES_A_SUM * itemsize,
            )  # fmt: skip

        queries.run(one_pass)


class SubspaceProgram:
    """subspace_query for one or more explicit symmetric matrices; dense ones that share launches are read as CSR."""

    def __init__(self, backend: GpuBackend, encodings: Sequence[Any], dtype: Any = np.complex128) -> None:
        self.backend, self.dtype = backend, np.dtype(dtype)
        xp, self.real = backend.xp, _real(self.dtype)
        operators = [e.operator for e in encodings]
        self.rows = _Rows(backend, [operator.shape[0] for operator in operators])
        self.inverse_alpha = xp.asarray(np.array([1 / e.alpha for e in encodings], dtype=self.real))
        self.dense = len(operators) == 1 and not operators[0].sparse
        if self.dense:
            self.tables: tuple[Any, ...] = (xp.ascontiguousarray(operators[0].on_device, dtype=self.real),)
            return
        parts = [_csr_parts(xp, operator) for operator in operators]
        counts = [len(values) for *_, values in parts]
        self.tables = (
            _joined_starts(xp, [start for start, *_ in parts], counts),
            _joined(xp, [_moved(i, row) for (_, i, _), row in zip(parts, self.rows.starts, strict=False)]),
            _joined(xp, [values.astype(self.real, copy=False) for *_, values in parts]),
        )
        self.lanes = _lanes(sum(counts) / self.rows.count, held=2)

    def run(self, phases: Sequence[Any], starts: Sequence[Any]) -> list[tuple[Any, Any]]:
        xp = self.backend.xp
        queries = Queries(self.backend, "subspace_query", [p[:-1][::-1] for p in phases], self.dtype, self.rows.systems)
        first = [cmath.exp(2j * p[-1]) * v for p, v in zip(phases, starts, strict=True)]
        u = xp.ascontiguousarray(_joined(xp, first).astype(self.dtype))
        buffers = [u, xp.zeros_like(u)]
        self.queries(queries, buffers)
        ends = [(len(p) - 1) % 2 for p in phases]
        return [(buffers[end][part], buffers[1 - end][part]) for end, part in zip(ends, self.rows.parts(), strict=True)]

    def queries(self, queries: Queries, buffers: Sequence[Any]) -> None:
        """All queries; each reads the u in one buffer and writes the new one over the v in the other."""
        columns, real = buffers[0].shape[1], REALS[self.dtype.name]
        together = COLUMNS[0] if columns == 1 else COLUMNS[-1]
        _check_columns(_blocks(columns, together))
        lanes = 32 if self.dense else self.lanes
        name = (
            f"subspace_query_dense<{real}, {together}>"
            if self.dense
            else f"subspace_query<{real}, {lanes}, {together}>"
        )
        kernel = queries.kernel(name)
        grid = (_blocks(self.rows.count * lanes), _blocks(columns, together))
        sizes = (np.int32(self.rows.count), np.int32(columns))

        def query(offset: int) -> None:
            u, v = buffers[offset % 2], buffers[1 - offset % 2]
            kernel(grid, (THREADS,), (u, v, *sizes, *self.tables, self.inverse_alpha, *queries.arguments(offset)))

        queries.run(query)


def _csr_parts(xp: Any, operator: Any) -> tuple[Any, Any, Any]:
    """starts, indices and values of a matrix on the device."""
    matrix = operator.on_device
    if operator.sparse:
        return matrix.indptr, matrix.indices, matrix.data
    n = operator.shape[0]
    starts = xp.arange(0, n * n + 1, n, dtype=np.int32)
    return starts, xp.tile(xp.arange(n, dtype=np.int32), n), matrix.reshape(-1)
