"""The kernel sources: found, concatenated, and with headers whose formulas are those of the tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from qnewton_gpu.backends import cuda_source, select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.operators import GramOperator, as_operator

CPU = select_backend("cpu")


@pytest.mark.parametrize("name", cuda_source.NAMES)
def test_a_source_is_one_text_with_what_the_kernels_share(name: str) -> None:
    source = cuda_source.source(name, "double")
    assert "struct Sequence" in source.text and "__global__" in source.text and "#include" not in source.text
    assert all("float" not in e for e in source.name_expressions) and "advance" in source.name_expressions


def test_every_kernel_file_has_its_name_and_its_header() -> None:
    files = {path.stem for path in cuda_source.kernels_folder().glob("*.cu")}
    assert files == set(cuda_source.NAMES)
    for name in files:
        text = (cuda_source.kernels_folder() / f"{name}.cu").read_text()
        for line in ("// Index order:", "// Thread mapping:", "// bytes: ", "// flops: ", "// per amplitude"):
            assert line in text, (name, line)


def sparse(n: int) -> Any:
    H = sp.random_array((n, n), density=0.1, rng=np.random.default_rng(0))
    return sp.csr_array(H + H.T + sp.eye_array(n))


def test_the_bytes_of_a_walk_query_are_those_of_its_arrays() -> None:
    encoding: Any = encode(as_operator(sparse(50), CPU), CPU, "walk")
    table, register = encoding.register, 16 * encoding.register_size
    moved = 2 * register + sum(getattr(table, part).nbytes for part in ("starts", "gather", "amplitude", "slack"))
    stated = cuda_source.formula("walk_query", "bytes", entries=len(table.gather), rows=50, real=8)
    assert stated == moved - table.starts.itemsize  # of N + 1 starts, N are counted


def test_the_bytes_of_a_matching_query_are_those_of_its_arrays() -> None:
    encoding: Any = encode(as_operator(sparse(50), CPU), CPU, "matching")
    table, register = encoding.register, 16 * encoding.register_size
    stated = cuda_source.formula("matching_query", "bytes", colours=len(table.amplitude), rows=50, real=8)
    assert stated == 2 * register + table.partner.nbytes + table.cosine.nbytes


def test_the_bytes_of_a_gram_pass_are_those_of_its_arrays() -> None:
    G = np.random.default_rng(0).standard_normal((30, 12))
    encoding: Any = encode(GramOperator(G, 0.1, CPU), CPU, "gram")
    sizes = {"rows": 30, "columns": 12, "tiles": 5, "real": 8}
    stated = cuda_source.formula("gram_query", "bytes", **sizes)
    # the partial sums are written, read and added to a vector; that vector is small
    assert stated == 2 * 16 * encoding.register_size + encoding.register.unit.nbytes + 3 * 16 * 5 * 12


def test_the_bytes_of_a_subspace_query_are_those_of_its_arrays() -> None:
    H = as_operator(sparse(50), CPU)
    matrix = H.on_device
    arrays = matrix.data.nbytes + matrix.indices.nbytes + 4 * 50 + 3 * 16 * 50
    assert cuda_source.formula("subspace_query", "bytes", entries=matrix.nnz, rows=50, real=8) == arrays
    dense = cuda_source.formula("subspace_query", "bytes of the dense form", entries=2500, rows=50, real=8)
    assert dense == 8 * 2500 + 3 * 16 * 50


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("walk_query", {"entries": 16e6, "rows": 1e6}), ("matching_query", {"colours": 20, "rows": 1e6}),
     ("gram_query", {"rows": 1e4, "columns": 1e3, "tiles": 1})],
)  # fmt: skip
def test_the_figures_per_amplitude_follow_from_the_formulas(name: str, sizes: dict[str, float]) -> None:
    amplitudes = {
        "walk_query": lambda s: s["entries"] + 2 * s["rows"],
        "matching_query": lambda s: 2 * s["colours"] * s["rows"],
        "gram_query": lambda s: (s["rows"] + 1) * s["columns"],
    }[name](sizes)
    text = (cuda_source.kernels_folder() / f"{name}.cu").read_text()
    stated = next(line for line in text.splitlines() if line.startswith("// per amplitude"))
    per_amplitude, flops = (
        float(word) for word in stated.split(": ")[1].replace(" bytes", "").replace(" flops", "").split(", ")
    )
    assert cuda_source.formula(name, "bytes", real=8, **sizes) / amplitudes == pytest.approx(per_amplitude, abs=0.51)
    assert cuda_source.formula(name, "flops", real=8, **sizes) / amplitudes == pytest.approx(flops, abs=0.51)
