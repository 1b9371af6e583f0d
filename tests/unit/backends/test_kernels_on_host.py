"""The bodies of the CUDA kernels, compiled by g++, against the specification: lift, lower and reflect in NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from standins import host_kernels

from qnewton_gpu.backends import cuda_source, select_backend
from qnewton_gpu.backends.gpu_programs import NULL
from qnewton_gpu.encodings import encode
from qnewton_gpu.operators import GramOperator, as_operator

pytestmark = pytest.mark.usefixtures("gxx")
CPU = select_backend("cpu")
DTYPES = [np.complex64, np.complex128]
TOLERANCE = {np.complex64: 2e-6, np.complex128: 1e-14}
RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def gxx() -> str:
    return host_kernels.require_gxx()


def ragged(n: int) -> sp.csr_array:
    """Rows of every length from none to longer than what a thread keeps in registers; both signs."""
    H = np.zeros((n, n))
    for row in range(0, n, 2):
        count = min(n, row * row // 40 + row % 5)
        H[row, RANDOM.choice(n, count, replace=False)] = RANDOM.standard_normal(count)
    H[n // 2] += RANDOM.standard_normal(n)  # a full row, 4 * LANES and more
    return sp.csr_array(H + H.T)


MATRICES = {
    "ragged": ragged(150),
    "prime": ragged(37),
    "empty rows": sp.csr_array(sp.block_diag([ragged(5), sp.csr_array((4, 4)), ragged(3)])),
    "1x1": sp.csr_array([[-0.7]]),
    "zero": sp.csr_array((3, 3)),
    "block and one": sp.csr_array(sp.diags_array(RANDOM.standard_normal(257))),
}


def sequence(phases: np.ndarray, dtype: Any, query: int = 0, degrees: Any = None, systems: Any = None) -> list[Any]:
    """The last arguments of a kernel: row `query` of phases (queries, systems)."""
    table = np.stack([np.exp(-1j * phases), np.expm1(2j * phases)], axis=-1).astype(dtype)
    degrees = np.full(phases.shape[1], len(phases), dtype=np.int32) if degrees is None else degrees
    # split between the counter and the offset, as a replayed graph does
    first, offset = np.array([query // 2], dtype=np.int32), np.int32(query - query // 2)
    return [table, first, degrees, NULL if systems is None else systems, offset, np.int32(phases.shape[1])]


def random_register(size: int, columns: int, dtype: Any) -> np.ndarray:
    psi = RANDOM.standard_normal((size, columns)) + 1j * RANDOM.standard_normal((size, columns))
    return (psi / np.linalg.norm(psi, axis=0)).astype(dtype)


def expected_query(encoding: Any, psi: np.ndarray, phi: float, side: str = "right") -> np.ndarray:
    psi = encoding.reflect(psi.astype(np.complex128))
    return np.exp(-1j * phi) * (psi + np.expm1(2j * phi) * encoding.lift(encoding.lower(psi, side), side))


def planes(psi: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(psi.T)


def poisoned(shape: Any, dtype: Any) -> np.ndarray:
    return np.full(shape, np.nan, dtype=dtype)


@pytest.mark.parametrize("lanes", cuda_source.LANES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("matrix", MATRICES)
def test_walk_query(matrix: str, dtype: Any, lanes: int) -> None:
    encoding: Any = encode(as_operator(MATRICES[matrix], CPU), CPU, "walk")
    real, table = dtype(0).real.dtype, encoding.register
    n, columns, phi = len(table.slack), 2, 0.7
    psi = random_register(encoding.register_size, columns, dtype)
    result = poisoned((columns, len(psi)), dtype)
    shape = (np.int64(len(psi)), np.int32(n))
    tables = (table.starts, table.gather, table.amplitude.astype(real), table.slack.astype(real))
    grid, name = (-(-n * lanes // 64), columns), cuda_source.REALS[np.dtype(dtype).name]
    last = sequence(np.array([[0.1], [0.2], [phi]]), dtype, query=2)
    host_kernels.run(
        "walk_query", f"walk_query<{name}, {lanes}>", grid, (64,), [planes(psi), result, *shape, *tables, *last]
    )
    assert np.allclose(result.T, expected_query(encoding, psi, phi), rtol=0, atol=TOLERANCE[dtype])

    v, lifted = random_register(n, columns, dtype), poisoned((columns, len(psi)), dtype)
    few = (tables[0], tables[2], tables[3])
    host_kernels.run("walk_query", f"walk_lift<{name}, {lanes}>", grid, (64,), [planes(v), lifted, *shape, *few])
    assert np.allclose(lifted.T, encoding.lift(v), rtol=0, atol=TOLERANCE[dtype])
    lowered = poisoned((columns, n), dtype)
    host_kernels.run("walk_query", f"walk_lower<{name}, {lanes}>", grid, (64,), [planes(psi), lowered, *shape, *few])
    assert np.allclose(lowered.T, encoding.lower(psi), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("in_shared_memory", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("matrix", MATRICES)
def test_matching_query(matrix: str, dtype: Any, in_shared_memory: int) -> None:
    encoding: Any = encode(as_operator(MATRICES[matrix], CPU), CPU, "matching")
    real, table = dtype(0).real.dtype, encoding.register
    (colours, n), columns, phi = table.partner.shape, 2, -1.1
    psi = random_register(encoding.register_size, columns, dtype)
    result = poisoned((columns, len(psi)), dtype)
    arguments = [planes(psi), result, np.int64(len(psi)), np.int32(n), np.int32(colours), table.partner,
                 table.cosine.astype(real), table.amplitude.astype(real), np.int32(in_shared_memory)]  # fmt: skip
    expression = f"matching_query<{cuda_source.REALS[np.dtype(dtype).name]}>"
    shared = colours * 32 * psi.itemsize if in_shared_memory else 0
    last = sequence(np.array([[phi]]), dtype)
    host_kernels.run("matching_query", expression, (-(-n // 32), columns), (32,), [*arguments, *last], shared)
    assert np.allclose(result.T, expected_query(encoding, psi, phi), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("threads", [32, 128])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (7, 3), (5, 150), (40, 64), (3, 600)])
def test_gram_query(m: int, n: int, dtype: Any, threads: int) -> None:
    """A pass is a right and a left phase; n = 600 has more columns than 32 threads keep in registers."""
    G = RANDOM.standard_normal((m, n))
    G[m // 2] = 0 if m > 1 else G[0]
    encoding: Any = encode(GramOperator(G, 0.3, CPU), CPU, "gram")
    table, columns, right, left = encoding.register, 2, 0.4, -0.9
    psi = random_register(encoding.register_size, columns, dtype)
    expected = expected_query(encoding, expected_query(encoding, psi, right, "right"), left, "left")
    register, v = planes(psi), planes(encoding.lower(psi.astype(np.complex128), "right").astype(dtype))
    tiles, real = 3, dtype(0).real.dtype
    partial, name = poisoned((columns, tiles, n), dtype), cuda_source.REALS[np.dtype(dtype).name]
    sizes = (np.int32(m), np.int32(n), table.weight.astype(real), table.unit.astype(real))
    host_kernels.run(
        "gram_query", f"gram_rows<{name}>", (tiles, columns), (threads,),
        [register, v, partial, *sizes, *sequence(np.array([[right, left]]), dtype)], threads // 32 * psi.itemsize,
    )  # fmt: skip
    assert np.allclose(register.T, expected, rtol=0, atol=TOLERANCE[dtype])
    host_kernels.run(
        "gram_query", f"gram_columns<{name}>", (-(-n // 32), columns), (32, 4),
        [partial, v, np.int32(tiles), np.int32(n)], 32 * 4 * psi.itemsize,
    )  # fmt: skip
    assert np.allclose(v.T, encoding.lower(expected, "right"), rtol=0, atol=4 * TOLERANCE[dtype])


@pytest.mark.parametrize("columns", [1, 3, 5])
@pytest.mark.parametrize("together", cuda_source.COLUMNS)
@pytest.mark.parametrize("lanes", [*cuda_source.LANES, "dense"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("matrix", ["ragged", "empty rows", "1x1"])
def test_subspace_query(matrix: str, dtype: Any, lanes: Any, together: int, columns: int) -> None:
    H, alpha, phi = MATRICES[matrix], 3.0, 2.2
    n, real, name = H.shape[0], dtype(0).real.dtype, cuda_source.REALS[np.dtype(dtype).name]
    u, v = random_register(n, columns, dtype), random_register(n, columns, dtype)
    expected = v + np.expm1(2j * phi) * (v + H @ u / alpha)
    last = [np.array([1 / alpha], dtype=real), *sequence(np.array([[phi]]), dtype)]
    sizes = (np.int32(n), np.int32(columns))
    if lanes == "dense":
        expression, lanes, tables = f"subspace_query_dense<{name}, {together}>", 32, [H.toarray().astype(real)]
    else:
        expression = f"subspace_query<{name}, {lanes}, {together}>"
        tables = [H.indptr.astype(np.int32), H.indices.astype(np.int32), H.data.astype(real)]
    grid = (-(-n * lanes // 64), -(-columns // together))
    before = u.copy()
    host_kernels.run("subspace_query", expression, grid, (64,), [u, v, *sizes, *tables, *last])
    assert np.allclose(v, expected, rtol=0, atol=8 * TOLERANCE[dtype] * np.abs(expected).max())
    assert np.array_equal(u, before)


def test_a_system_whose_circuit_has_ended_keeps_its_register() -> None:
    H = sp.csr_array(sp.block_diag([ragged(9), ragged(6)]))
    n, dtype = 15, np.complex128
    u, v = random_register(n, 1, dtype), random_register(n, 1, dtype)
    before, phases = v.copy(), np.array([[0.3, 0.4], [0.5, 0.6]])
    systems = np.repeat(np.array([0, 1], dtype=np.int32), [9, 6])
    last = sequence(phases, dtype, query=1, degrees=np.array([2, 1], dtype=np.int32), systems=systems)
    tables = [H.indptr.astype(np.int32), H.indices.astype(np.int32), H.data, np.array([0.5, 0.25])]
    host_kernels.run(
        "subspace_query",
        "subspace_query<double, 4, 1>",
        (1, 1),
        (64,),
        [u, v, np.int32(n), np.int32(1), *tables, *last],
    )
    expected = before + np.expm1(1j) * (before + 0.5 * (H @ u))
    assert np.allclose(v[:9], expected[:9], rtol=0, atol=1e-14) and np.array_equal(v[9:], before[9:])


def test_the_counter_moves_on() -> None:
    first = np.array([3], dtype=np.int32)
    host_kernels.run("walk_query", "advance", (1,), (1,), [first, np.int32(32)])
    assert first[0] == 35


def test_an_argument_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(AssertionError, match="argument 1"):
        host_kernels.run("walk_query", "advance", (1,), (1,), [np.zeros(1, dtype=np.int32), np.int64(1)])


CASES = {
    "walk": lambda: test_walk_query("prime", np.complex128, 8),
    "matching": lambda: test_matching_query("prime", np.complex128, 1),
    "gram": lambda: test_gram_query(5, 150, np.complex128, 64),
    "subspace": lambda: test_subspace_query("empty rows", np.complex128, 4, 4, 3),
    "subspace dense": lambda: test_subspace_query("empty rows", np.complex128, "dense", 1, 1),
}


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
@pytest.mark.parametrize("case", CASES)
def test_clean_under_sanitizers(case: str, sanitizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_kernels, "run", partial(host_kernels.run_sanitized, sanitizer))
    CASES[case]()


BARRIER = "__syncthreads();  // the sums of the row before have been read"
LAST_BARRIER = "    __syncthreads();\n    if (threadIdx.y || j >= columns) return;"
# each a mistake that a GPU would answer with a race, a hang or a wrong number
MISTAKES = {
    "a missing barrier": ("thread", BARRIER, "", "data race"),
    "a barrier that some threads miss": ("address", LAST_BARRIER, "\n".join(LAST_BARRIER.split("\n")[::-1]), "barrier"),
    "a shuffle that some lanes miss": ("address", "v = sum_over_lanes<32>(v);",
                                      "if (threadIdx.x < 20) v = sum_over_lanes<32>(v);", "shuffle"),
    "an index too far": ("address", "partial[(long long)t * columns + j];", "partial[(long long)t * columns + j + 1];",
                         "AddressSanitizer"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_host_build_finds_mistakes(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sanitizer, right, wrong, found = MISTAKES[mistake]
    real = host_kernels.translation_unit
    assert right in real("gram_query")
    monkeypatch.setattr(host_kernels, "translation_unit", lambda *names: real(*names).replace(right, wrong))
    monkeypatch.setattr(host_kernels, "run", partial(host_kernels.run_sanitized, sanitizer))
    with pytest.raises(AssertionError, match=found):
        CASES["gram"]()
