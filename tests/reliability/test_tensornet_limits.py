"""Backend tensornet at its edges: copies, empty branches, tables too large for chains, and what does not fit."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.cpu import CpuBackend, apply_gate
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.backends.tensornet_chain import ChainStateVector
from qnewton_gpu.circuit import PermutationGate
from qnewton_gpu.cli import main
from qnewton_gpu.costs import Hardware
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import NotEnoughMemoryError, UnknownNameError
from qnewton_gpu.noise import Noise, run_with_noise
from qnewton_gpu.operators import as_operator
from qnewton_gpu.simulation import Run
from qnewton_gpu.tensor_networks import decompositions, gate_operators

COPIES = pytest.mark.parametrize(
    "how", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "deepcopy", "pickle"]
)
SMALL = np.diag([1.0, 2.0, 3.0])


def dense(n: int) -> np.ndarray:
    """A definite matrix without structure."""
    a = np.random.default_rng(0).normal(size=(n, n))
    return a @ a.T / n + np.eye(n)


@COPIES
@pytest.mark.parametrize("name", ["tensornet", "tensornet:8"])
def test_copies_of_a_backend_solve_alike(how: Any, name: str) -> None:
    backend = select_backend(name)
    one = qn.solve(SMALL, np.ones(3), solver="qsvt", backend=backend)
    other = how(backend)
    assert (other.name, other.bond_dimension, other.cutoff) == (backend.name, backend.bond_dimension, backend.cutoff)
    assert np.array_equal(one.x, qn.solve(SMALL, np.ones(3), solver="qsvt", backend=other).x)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
def test_copies_of_an_optimizer_go_on_alike(how: Any) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(8, 2, dtype=torch.float64), torch.randint(2, (8,))
    model, scheduler = torch.nn.Linear(2, 2).double(), qn.Scheduler(solver="qsvt", backend="tensornet")
    optimizer = qn.QNewton(model, torch.nn.CrossEntropyLoss(), scheduler=scheduler)
    optimizer.step(x, y)
    other = how(optimizer)
    assert optimizer.step(x, y).new_loss == other.step(x, y).new_loss


@pytest.mark.parametrize("bond", [1, 4])
def test_a_branch_that_truncation_emptied_has_an_error(bond: int) -> None:
    """0.9 |00> + 0.44 |11> on bond 1 is |00>: found with both qubits turned, nothing of it is left."""
    start = np.array([[np.sqrt(0.19)], [0.0], [0.0], [0.9]])
    exact, chain = select_backend("cpu").state_vector(start, 2), ChainStateVector(start, 2, bond)
    for state in (exact, chain):
        state.postselect([0, 1])
    distance = np.linalg.norm(exact.amplitudes - chain.amplitudes)
    assert (distance > 0.5) == (bond == 1)
    assert distance <= chain.truncation_error[0] + 1e-12


def test_truncation_under_noise_is_that_of_the_worst_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = select_backend("tensornet:2")
    run = Run(encode(as_operator(dense(4), backend), backend, "matching"), np.ones(4), np.eye(4, 1), mode="circuit")
    seen: list[tuple[float, int]] = []
    original = qn.noise.Trajectory.execute

    def execute(self: Any, backend: Any) -> Any:
        outcome = original(self, backend)
        seen.append((outcome.truncation_error, outcome.bond_dimension))
        return outcome

    monkeypatch.setattr(qn.noise.Trajectory, "execute", execute)
    outcome = run_with_noise(run, Noise(depolarising=0.3, trajectories=6), backend, np.random.default_rng(1))
    assert len(seen) > 3 and outcome.truncation_error == max(error for error, _ in seen) > min(seen)[0]
    assert outcome.bond_dimension == max(bond for _, bond in seen)


def test_a_table_too_large_for_chains_is_refused_before_any_circuit_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChainStateVector, "apply", lambda *_: pytest.fail("a gate was applied"))
    with pytest.raises(NotEnoughMemoryError, match="different parts at one bond"):
        qn.solve(dense(65), np.ones(65), solver="qsvt", encoding="matching", backend="tensornet:64", tolerance=0.1)


@pytest.mark.parametrize("name", ["tensornet", "tensornet:64"])
def test_what_does_not_fit_is_left_to_the_fallbacks_where_no_solver_was_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "tensornet":
        monkeypatch.setattr(CpuBackend, "available_bytes", lambda self: 300_000)
    A, b, free_gates = dense(33 if name == "tensornet" else 65), np.ones(33 if name == "tensornet" else 65), 1e-24
    options: dict[str, Any] = {"hardware": Hardware(gate_time=free_gates), "backend": TensornetBackend(
        CpuBackend(), None if name == "tensornet" else 64), "tolerance": 1e-2}  # fmt: skip
    with pytest.raises(NotEnoughMemoryError):
        qn.solve(A, b, solver="qsvt", **options)
    solution = qn.solve(A, b, **options)
    assert solution.solved and solution.solver == "cholesky"


def test_products_of_large_operators_are_not_made_to_be_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tables without structure, bonds of about 30: written out, their product has bonds of about 900."""
    rng = np.random.default_rng(0)
    gates = [PermutationGate("table", tuple(range(6)), rng.permutation(64)) for _ in range(2)]
    made: list[int] = []
    reduced = gate_operators.MatrixProductOperator.reduced

    def counted(self: Any) -> Any:
        made.append(self.bond_dimension)
        return reduced(self)

    monkeypatch.setattr(gate_operators.MatrixProductOperator, "reduced", counted)
    operators = [gate_operators.gate_operator(gate) for gate in gates]
    assert operators[0].operator.bond_dimension * operators[1].operator.bond_dimension > gate_operators.MOST_MULTIPLIED
    assert gate_operators.cheaper_product(*operators) is None and not made


def test_threads_share_a_backend() -> None:
    """Two threads, other phases of one network: the contraction that is kept serves one at a time."""
    backend = TensornetBackend(CpuBackend())
    matrices = [SMALL, np.diag([1.0, -1.5, 3.0]), dense(4)]
    expected = [qn.solve(A, np.ones(len(A)), solver="qsvt", backend=backend).x for A in matrices]
    wrong: list[str] = []

    def work(offset: int) -> None:
        for k in range(4):
            place = (offset + k) % len(matrices)
            A = matrices[place]
            if not np.array_equal(qn.solve(A, np.ones(len(A)), solver="qsvt", backend=backend).x, expected[place]):
                wrong.append(f"thread {offset}, system {place}")

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("size", ["1", "2"])
def test_the_smallest_systems_are_estimated(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--size", size]) == 0
    assert "recommended: subspace" in capsys.readouterr().out


@pytest.mark.parametrize("asked", [["--size", "64"], ["matrix"]])
def test_simulators_are_compared_alike_where_the_environment_asks_for_tensor_networks(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "A.npy", SMALL)
    found = []
    for name in ("cpu", "tensornet:16"):
        monkeypatch.setenv("QNEWTON_BACKEND", name)
        given = [str(tmp_path / "A.npy")] if asked == ["matrix"] else asked
        assert main(["estimate", *given, "--json", "-"]) == 0
        simulators = json.loads(capsys.readouterr().out)["simulators"]["qsvt"]
        found.append([(one["name"], one["bytes"], one["recommended"]) for one in simulators])
    assert found[0] == found[1] and all(size for _, size, _ in found[0])


def test_doctor_names_the_solvers_without_gates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QNEWTON_BACKEND", "tensornet")
    assert main(["doctor"]) == 0
    said = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("solver ")}
    assert "ready" in said["qsvt"] and "not here" in said["hhl"]


def test_a_bond_dimension_of_a_thousand_digits_is_no_name() -> None:
    with pytest.raises(UnknownNameError):
        select_backend("tensornet:" + "9" * 5000)


def test_what_is_kept_for_small_factorisations_stays_small() -> None:
    """Bonds of every size leave no mask of every size behind."""
    kept = decompositions._upper.cache_info().currsize
    matrix = np.random.default_rng(0).normal(size=(300, 300))
    for columns in range(65, 300, 47):
        r = decompositions.triangle(matrix[:, :columns])
        assert np.allclose(r.T @ r, matrix[:, :columns].T @ matrix[:, :columns]) and not np.tril(r, -1).any()
    assert decompositions._upper.cache_info().currsize == kept


@pytest.mark.parametrize("seed", range(3))
def test_a_diagonal_without_structure_takes_no_bond_that_it_does_not_need(seed: int) -> None:
    """As the rotation of a dense matching: the automaton from below has up to 2^(n - 1) values, its rank is 2^(n/2)."""
    rng = np.random.default_rng(seed)
    targets = tuple(int(q) for q in rng.permutation(9))
    gate = PermutationGate("diagonal", targets, None, np.exp(1j * rng.normal(size=512)))
    operator = gate_operators.gate_operator(gate).operator
    assert operator.bond_dimension == 16 and max(w.shape[3] for w in gate_operators._automaton(gate)) > 64
    expected = apply_gate(gate, np.eye(512, dtype=complex))
    assert np.abs(operator.matrix() - expected).max() < 1e-13
