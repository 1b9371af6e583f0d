"""profiling/roofline.py rehearsed on stand-ins: complete, with the bytes of the headers; its times mean nothing."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from standins import nvrtc
from standins.rehearsal import rehearse

from qnewton_gpu.backends import cuda_source, select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import BackendUnavailableError, UnknownNameError
from qnewton_gpu.operators import MatrixOperator

PROFILING = Path(__file__).parents[2] / "profiling"
CPU = select_backend("cpu")


@pytest.fixture(scope="module")
def roofline() -> Iterator[ModuleType]:
    sys.path.insert(0, str(PROFILING))  # as for a script that is run
    spec = importlib.util.spec_from_file_location("roofline", PROFILING / "roofline.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["roofline"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(PROFILING))


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Any]:
    with rehearse() as backend:
        yield backend


@pytest.fixture
def gate_fusion(roofline: ModuleType) -> ModuleType:
    return importlib.import_module("gate_fusion")


def run(roofline: ModuleType, out: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    assert roofline.main(["--small", "--out", str(out), *arguments]) == status

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in the file")

    return dict(json.loads(out.read_text(), parse_constant=refuse))


SPARSE = {f"{kernel}, {pattern}" for kernel in ("walk_query", "subspace_query") for pattern in ("band", "random")}
GATHERED = {"walk_query, random", "subspace_query, random", "matching_query, random"}
IN_BOTH = SPARSE | GATHERED | {f"gather_copy of {name}" for name in GATHERED}
IN_BOTH |= {"subspace_query_dense", "gram_rows + gram_columns"}
IN_DOUBLE = {"device copy", "matching_query", "cuStateVec gates, one by one", "cuStateVec gates, fused"}
IN_DOUBLE |= {"QSVT sequence, fused", "QSVT sequence, subspace"}
IN_DOUBLE |= {f"{k}, {how}" for k in ("walk_query", "subspace_query") for how in ("launched one by one", "CUDA graph")}


def test_a_small_run_fills_every_row_and_says_that_it_is_a_rehearsal(
    roofline: ModuleType, rehearsal: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(roofline, tmp_path / "results" / "out.json")
    assert (
        "rehearsal" in report["device"] and report["sizes"] == "small" and {"torch", "numpy"} <= {*report["versions"]}
    )
    rows = {(row["name"], row["dtype"]): row for row in report["rows"]}
    assert len(rows) == len(report["rows"])
    expected = {(name, dtype) for name in IN_BOTH for dtype in roofline.DTYPES}
    assert set(rows) == expected | {(name, "complex128") for name in IN_DOUBLE}
    printed = capsys.readouterr().out
    for (name, dtype), row in rows.items():
        assert row["not_measured"] == "" and row["seconds"] > 0 and name in printed, name
        assert (row["reached"] is None) == (row["aim"] == ""), name
        if row["compared_with"]:
            assert row["ratio"] > 0 and math.isfinite(row["ratio"]), name
        if name in SPARSE:
            assert row["sizes"]["entries"] == 16 * row["sizes"]["rows"] and row["aim"] == ">= 0.85"
            assert row["compared_with"] == ("a gather-copy" if name in GATHERED else "the device copy")
        kernel, real = name.partition(",")[0], 8 if dtype == "complex128" else 4
        sizes, quantity = {**row["sizes"], "real": real}, "bytes"
        if name == "subspace_query_dense":
            kernel, quantity = "subspace_query", "bytes of the dense form"
        elif name == "gram_rows + gram_columns":
            kernel = "gram_query"
        if name in IN_BOTH | {"matching_query"} and not name.startswith("gather_copy"):
            assert row["bytes"] == cuda_source.formula(kernel, quantity, **sizes), name
    assert rows["cuStateVec gates, fused", "complex128"]["sizes"]["gates"] == 2


def test_the_fraction_of_a_gather_copy_counts_every_gathered_element_on_both_sides(
    roofline: ModuleType, rehearsal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_source, "kernels_folder", lambda: PROFILING)
    cuda_source._formulas.cache_clear()
    stated = cuda_source.formula("gather_copy", "bytes", count=1024, real=4)
    monkeypatch.undo()
    cuda_source._formulas.cache_clear()
    rows = run(roofline, tmp_path / "out.json", "--only", "subspace_query")["rows"]
    assert {row["measurement"] for row in rows} == {"device_copy", "subspace_query"}
    gather, query = rows[-2:]
    assert gather["bytes"] == stated and query["dtype"] == "complex64"
    # 64 amplitudes of u are counted once in the header of the kernel, and 1024 are gathered
    rate = (query["bytes"] + 8 * (1024 - 64)) / query["seconds"]
    assert query["ratio"] == pytest.approx(rate / gather["bytes_per_second"])


def test_without_custatevec_the_gates_are_not_measured(
    roofline: ModuleType, rehearsal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(start: Any, num_qubits: int) -> None:
        raise BackendUnavailableError("mode", "cuStateVec cannot be used (no library)", "Install it")

    monkeypatch.setattr(rehearsal, "state_vector", missing)
    *_, one_by_one, fused = run(roofline, tmp_path / "out.json", "--only", "gates")["rows"]
    for row in (one_by_one, fused):
        assert row["seconds"] is row["ratio"] is row["reached"] is None
        assert "cuStateVec cannot be used" in row["not_measured"]


def test_a_measurement_that_fails_costs_no_other_one(
    roofline: ModuleType, rehearsal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(bench: Any) -> Iterator[Any]:
        raise RuntimeError("a kernel that does not fit this device")
        yield

    chosen = {"device_copy": roofline.device_copy, "gram_query": failing, "gates": roofline.gates}
    monkeypatch.setattr(roofline, "MEASUREMENTS", chosen)
    copy, failed, *others = run(roofline, tmp_path / "out.json", status=1)["rows"]
    assert copy["seconds"] > 0 and len(others) == 3 and all(row["seconds"] > 0 for row in others)
    assert failed["name"] == "gram_query" and "does not fit this device" in failed["not_measured"]


def test_parts_and_small_sizes_write_no_result_file_unasked(roofline: ModuleType, rehearsal: Any) -> None:
    whole, small, part = (roofline.parse(a) for a in ([], ["--small"], ["--only", "gates"]))
    assert roofline.results_file(whole, rehearsal).parent == PROFILING / "results"
    assert roofline.results_file(small, rehearsal) is roofline.results_file(part, rehearsal) is None


def test_an_unknown_name_is_answered_with_the_valid_ones(roofline: ModuleType) -> None:
    with pytest.raises(UnknownNameError, match="walk_query"):
        roofline.main(["--only", "wakl_query"])


def test_without_a_gpu_it_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, str(PROFILING / "roofline.py"), "--small", "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2 and done.stdout == "" and not list(tmp_path.iterdir())
    assert done.stderr.startswith("roofline.py: error: backend: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("pattern", ["band", "random"])
def test_a_pattern_has_16_entries_a_row_and_a_small_condition_number(roofline: ModuleType, pattern: str) -> None:
    H = roofline.sparse_matrix(pattern, 128)
    assert set(np.diff(H.indptr)) == {16} and H.has_canonical_format and H.has_sorted_indices
    dense = H.toarray()
    assert np.array_equal(dense, dense.T) and (dense < 0).any() and np.linalg.cond(dense) < 31
    distance = np.abs(np.subtract(*H.nonzero()))
    assert (np.minimum(distance, 128 - distance).max() == 8) == (pattern == "band")


def test_the_matching_tables_are_those_that_colouring_finds(roofline: ModuleType) -> None:
    encoding: Any = encode(MatrixOperator(roofline.sparse_matrix("random", 64), CPU), CPU, "matching")
    table = roofline.matching_register(64, CPU)
    for name in ("partner", "cosine", "amplitude"):
        np.testing.assert_allclose(getattr(table, name), getattr(encoding.register, name), rtol=1e-14)


def test_the_gates_are_the_query_of_the_encoding_and_fusing_keeps_them(
    roofline: ModuleType, gate_fusion: ModuleType
) -> None:
    encoding: Any = encode(MatrixOperator(roofline.sparse_matrix("random", 16), CPU), CPU, "matching")
    phi, rng = 0.7, np.random.default_rng(0)
    circuit = gate_fusion.gates_of_query(encoding, phi)
    start = rng.standard_normal((encoding.register_size, 2)) + 1j * rng.standard_normal((encoding.register_size, 2))

    def applied(gates: Any, psi: Any) -> Any:
        state = CPU.state_vector(psi, circuit.num_qubits)
        for gate in gates:
            state.apply(gate)
        return state.amplitudes

    prepare = circuit.gates[0]
    by_gates = np.exp(-1j * phi) * applied([prepare, *circuit.gates, prepare], start)
    g = encoding.reflect(start)
    by_definition = np.exp(-1j * phi) * (g + np.expm1(2j * phi) * encoding.lift(encoding.lower(g)))
    np.testing.assert_allclose(by_gates, by_definition, atol=1e-12)

    once = gate_fusion.fuse(circuit.gates, gate_fusion.dense_product)
    repeated = gate_fusion.fuse_repeated(circuit.gates)
    assert [len(g.targets) for g in once] == [5, 9, 5] and [len(g.targets) for g in repeated] == [9, 5]
    np.testing.assert_allclose(applied(once, start), applied(circuit.gates, start), atol=1e-12)
    three = applied(circuit.gates * 3, start)
    # the repeated form begins behind the first fused gate
    np.testing.assert_allclose(applied(repeated * 3, applied(once[:1], start)), applied(once[:1], three), atol=1e-12)


@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
def test_the_gather_copy_copies_what_the_index_names(roofline: ModuleType, rehearsal: Any, dtype: str) -> None:
    xp, rng = rehearsal.xp, np.random.default_rng(0)
    count = 1500  # neither a multiple of the block nor of what a block copies
    source = xp.asarray((rng.standard_normal(700) + 1j * rng.standard_normal(700)).astype(dtype))
    index, out = xp.asarray(rng.integers(700, size=count).astype(np.uint32)), xp.empty(count + 1, dtype=dtype)
    kernel = rehearsal.kernel(roofline.gather_copy_source(), f"gather_copy<{cuda_source.REALS[dtype]}>")
    kernel((2,), (256,), (source, out, index, np.int64(count)))
    assert np.array_equal(out[:count].get(), source[index].get()) and np.isnan(out[count:].get()).all()


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_the_gather_copy_compiles_without_spills(
    roofline: ModuleType, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_source, "source", lambda name, real: roofline.gather_copy_source())
    used = nvrtc.compile_kernels.__wrapped__("gather_copy", "", architecture)
    assert {*used} == {"gather_copy<float>", "gather_copy<double>", "advance"}
    for usage in used.values():
        assert usage.spills == usage.stack == 0
        assert usage.registers <= 32  # as many threads as a multiprocessor holds
