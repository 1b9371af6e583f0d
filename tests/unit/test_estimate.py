"""`qnewton estimate`: every solver and encoding is listed, with the numbers that predict() gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from qnewton_gpu import CostModel, LinearSystem, estimate_spectrum
from qnewton_gpu.backends import select_backend
from qnewton_gpu.cli import USAGE_ERROR, main
from qnewton_gpu.cli.estimate import encoding_table, solver_costs, stated_system
from qnewton_gpu.encodings import ENCODINGS
from qnewton_gpu.operators import as_operator
from qnewton_gpu.polynomials import inverse_degree, kernel_reflection_polynomial, round_up_to_grid
from qnewton_gpu.solvers import CLASSICAL, QUANTUM, SOLVERS, make_solver
from qnewton_gpu.solvers.cks import cks_orders

CPU = select_backend("cpu")
MATRIX = np.diag(np.linspace(1.0, 4.0, 16)) + 0.2 * (np.eye(16, k=1) + np.eye(16, k=-1))
GENERAL = MATRIX + np.eye(16, k=2)
SYMMETRIC_ENCODINGS = set(ENCODINGS) - {"gram", "kronecker", "two_sided"}
OF_ANY_SQUARE = [name for name in SOLVERS if name not in ("cholesky", "saddle_free")]


def written(path: Path, A: np.ndarray) -> str:
    np.save(path, A)
    return str(path)


def sections(printed: str) -> list[tuple[str, dict[str, list[str]]]]:
    """(the line above it, {first cell: cells}) of every table that was printed."""
    lines, found = printed.splitlines(), []
    for place, line in enumerate(lines):
        if re.fullmatch(r"-+(  -+)+", line):
            starts = [match.start() for match in re.finditer(r"-+", line)]
            rows: dict[str, list[str]] = {}
            for row in lines[place + 1 :]:
                if not row.strip():
                    break
                cells = [row[a:b].strip() for a, b in zip(starts, [*starts[1:], len(row)], strict=True)]
                rows[cells[0]] = cells
            found.append((lines[place - 2], rows))
    return found


def estimated(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[tuple[str, dict[str, list[str]]]]:
    assert main(["estimate", *arguments]) == 0
    return sections(capsys.readouterr().out)


def factor(row: list[str], name: str) -> float:
    match = re.search(rf"{name} ([0-9.e+-]+)", row[4])
    assert match is not None, row
    return float(match[1])


def system_of(A: np.ndarray, tolerance: float) -> LinearSystem:
    operator = as_operator(A, CPU)
    return LinearSystem(operator, np.ones((len(A), 1)), estimate_spectrum(operator, backend=CPU), tolerance)


def test_every_solver_is_listed_of_a_stated_system(capsys: pytest.CaptureFixture[str]) -> None:
    paper, honest = estimated([], capsys)
    assert "paper comparison" in paper[0] and "honest comparison" in honest[0]
    assert set(paper[1]) == set(honest[1]) == {*SOLVERS, "jennings (formula)"}
    for _, rows in (paper, honest):
        seconds = [float(row[1].removesuffix(" s")) for row in rows.values()]
        assert seconds == sorted(seconds)  # the cheapest first
        assert all((row[3] == "-") == (name in CLASSICAL) for name, row in rows.items())
    assert {name for name, row in honest[1].items() if row[2] == "yes"} == {"qsvt", "cholesky", "lu", "cg", "qr"}


@pytest.mark.parametrize(("kappa", "alpha", "epsilon"), [(128.0, 1.0, 1e-2), (16.0, 4.0, 1e-4)])
def test_queries_of_a_stated_system_are_those_of_the_theorems(
    kappa: float, alpha: float, epsilon: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """kappa alpha on the grid, so that nothing is rounded up; a stated system has its norm known."""
    covered = kappa * alpha
    assert round_up_to_grid(covered) == covered
    arguments = ["--kappa", str(kappa), "--alpha", str(alpha), "--tolerance", str(epsilon), "--comparison", "honest"]
    ((_, rows),) = estimated(arguments, capsys)
    expected = {
        "qsvt": inverse_degree(covered, epsilon),
        "kernel_reflection": kernel_reflection_polynomial(covered, epsilon / (2 * np.sqrt(2))).degree,
        "cks": 2 * cks_orders(covered, epsilon)[1] + 1,
    }
    for name, queries in expected.items():
        assert factor(rows[name], "queries") == pytest.approx(queries, rel=5e-3)  # three digits are printed


def test_a_larger_alpha_costs_every_quantum_solver_and_no_classical_one() -> None:
    near, far = (solver_costs(stated_system(256, 2048, 50.0, a, 1e-3), CostModel(), "stated") for a in (1.0, 4.0))
    assert set(near) == set(far) == set(SOLVERS)
    for name in QUANTUM:
        ratio = far[name].factors["queries"] / near[name].factors["queries"]
        assert 3.3 < ratio < 5.2, name  # CKS and the grid add logarithms
    assert all(near[name].seconds == far[name].seconds for name in CLASSICAL)


def test_every_solver_of_a_matrix_costs_what_it_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "A.npy", MATRIX)
    paper, honest, encodings = estimated([path, "--tolerance", "1e-3", "--encoding", "walk"], capsys)
    assert "16 x 16, 256 entries" in paper[0]
    for rows, model in ((paper[1], CostModel()), (honest[1], CostModel().honest())):
        assert set(rows) == set(SOLVERS)
        for name, row in rows.items():
            cost = make_solver(name, encoding="walk").predict(system_of(MATRIX, 1e-3), model, CPU)
            assert float(row[1].removesuffix(" s")) == pytest.approx(cost.seconds, rel=5e-3)
            for key, value in cost.factors.items():
                if value:
                    assert factor(row, key) == pytest.approx(value, rel=5e-3), (name, key)
    assert "every encoding" in encodings[0]


@pytest.mark.parametrize("kind", ["symmetric", "general"])
def test_every_encoding_that_serves_a_matrix_is_listed(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    A = MATRIX if kind == "symmetric" else GENERAL
    *_, (_, rows) = estimated([written(tmp_path / "A.npy", A)], capsys)
    assert set(rows) == (SYMMETRIC_ENCODINGS if kind == "symmetric" else {*SYMMETRIC_ENCODINGS, "two_sided"})
    norm = float(np.linalg.norm(A, 2))
    for name, row in rows.items():
        solver: Any = make_solver("qsvt", encoding=name)
        system = solver.pose(system_of(A, 1e-2))
        method = solver.method(system, CPU)
        encoding = method.encoding
        assert float(row[1]) == pytest.approx(encoding.alpha, rel=1e-3) and encoding.alpha >= norm * (1 - 1e-9)
        assert float(row[2]) >= 0.9 and float(row[2]) == pytest.approx(encoding.alpha / norm, rel=0.02)
        assert row[3] == f"{encoding.system_qubits} + {encoding.ancilla_qubits}"
        assert int(row[4]) == encoding.register_size
        assert row[5] == ("yes" if name in ("matching", "banded", "dilation", "pauli") else "no")
        predicted = solver.predict(system_of(A, 1e-2), CostModel(), CPU).factors["queries"]
        assert int(row[6]) == method.queries(1e-2) == predicted
        assert float(row[7]) > 0 and float(row[8]) > 0
    dilation = rows["dilation"]
    assert float(dilation[2]) <= min(float(row[2]) for row in rows.values())
    assert float(rows["sparse_access"][1]) >= float(rows["walk"][1])


def test_a_general_matrix_lists_the_solvers_that_serve_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *_, (_, rows), _ = estimated([written(tmp_path / "A.npy", GENERAL)], capsys)
    assert set(rows) == set(OF_ANY_SQUARE)
    tall = written(tmp_path / "T.npy", GENERAL[:, :5])
    *_, (_, rows), (_, encodings) = estimated([tall], capsys)
    assert set(rows) == {"qsvt", "qsvt_uniform", "qsvt_pseudo_inverse", "cg", "qr"}
    assert set(encodings) == {"two_sided"}


def test_a_complex_matrix_and_a_sparse_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hermitian = MATRIX + 0.1j * (np.eye(16, k=3) - np.eye(16, k=-3))
    *_, (known, rows), _ = estimated([written(tmp_path / "A.npy", hermitian)], capsys)
    assert "32 x 32" in known and set(rows) == set(SOLVERS)
    sp.save_npz(tmp_path / "A.npz", sp.csr_array(MATRIX))
    *_, (known, rows), _ = estimated([str(tmp_path / "A.npz")], capsys)
    assert "16 x 16, 46 entries" in known and set(rows) == set(SOLVERS)


def test_an_indefinite_matrix_has_neither_cholesky_nor_cg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    indefinite = MATRIX - 2.5 * np.eye(16)
    *_, (_, rows), _ = estimated([written(tmp_path / "A.npy", indefinite)], capsys)
    assert set(rows) == {*QUANTUM, "lu", "qr"}


def test_nothing_is_solved_or_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnewton_gpu.simulation.run_sequences", lambda *_: pytest.fail("ran a circuit"))
    monkeypatch.setattr("qnewton_gpu.solvers.qsvt.phases_for", lambda *_: pytest.fail("made phases"))
    system = system_of(MATRIX, 1e-3)
    assert set(solver_costs(system, CostModel(), "auto")) == set(SOLVERS)
    assert "walk" in encoding_table(system, 1e-3)


def test_break_even_is_where_the_circuit_takes_as_long_as_the_best_classical_solver(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ((_, rows),) = estimated(["--comparison", "honest", "--gate-time", "1e-9"], capsys)
    classical = min(float(rows[name][1].removesuffix(" s")) for name in ("cholesky", "lu", "cg"))
    for name in QUANTUM:
        gate_time, seconds = (float(rows[name][column].removesuffix(" s")) for column in (3, 1))
        assert gate_time == pytest.approx(1e-9 * classical / seconds, rel=2e-2)


def test_an_encoding_that_serves_no_such_matrix_is_refused_or_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "A.npy", MATRIX)
    assert main(["estimate", path, "--encoding", "magic"]) == USAGE_ERROR
    assert "walk" in capsys.readouterr().err
    _, (_, rows), _ = estimated([path, "--encoding", "gram"], capsys)
    assert set(rows) == set(CLASSICAL)
