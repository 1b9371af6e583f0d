"""benchmarks/bench_tensornet.py: its exact solutions, and the state vector beside it until it does not fit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    sys.path.insert(0, str(BENCHMARKS))  # as for a script that is run
    import bench_tensornet

    yield bench_tensornet
    sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("qubits", [6, 7])
def test_exact_entries_are_those_of_the_dense_solve(bench: Any, qubits: int) -> None:
    names = []
    for case in bench.cases(qubits, 5.0):
        x = np.linalg.solve(case.operator.dense(), case.b.vector())
        if case.exact is not None:
            assert np.allclose(case.exact(case.indices), x[case.indices], rtol=0, atol=1e-14)
        values = np.linalg.eigvalsh(case.operator.dense())
        assert values[-1] / values[0] == pytest.approx(5.0)
        names.append(case.kind)
    assert len(set(names)) == len(names) == 5


def test_cases_of_forty_qubits_have_few_numbers_and_large_entries_among_the_samples(bench: Any) -> None:
    for case in bench.cases(40, 100.0):
        assert case.operator.shape == (1 << 40, 1 << 40) and case.b.bond_dimension <= 6
        exact = case.exact(case.indices)
        assert np.isfinite(exact).all() and abs(exact).max() > 0.2 * {"point": 2.475, "constant": 2e-5}.get(
            case.name, 2e-5
        )


def test_the_state_vector_says_why_it_was_not_run(bench: Any) -> None:
    vector = bench.StateVector(1e-2, limit=1e4)
    (small, *_), (middle, *_), (large, *_) = (list(bench.cases(n, 10.0)) for n in (6, 8, 40))
    seconds, memory = vector.cells(small)
    assert float(seconds) >= 0 and memory == "8 KiB"
    vector.limit = 0.0
    assert vector.cells(middle)[0].startswith("not run: ")
    assert vector.cells(large) == ["does not fit", "128 TiB"]


def test_quick_writes_no_file_unless_asked(bench: Any, tmp_path: Path) -> None:
    assert bench.options_of(["--quick"]).output is None and bench.options_of([]).output == bench.RESULTS
    quick = bench.options_of(["--quick", "--output", str(tmp_path / "table.md"), "--n", "8"])
    assert quick.n == [8] and quick.limit == 10 and quick.output.name == "table.md"
    assert bench.size_of(1.5 * 2**40) == "1.5 TiB" and bench.size_of(100) == "100 B"
