"""Solvers that run gate by gate give what they give in the other modes, and their programs are what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.amplification import amplify
from qnewton_gpu.backends.counting import count
from qnewton_gpu.backends.cpu import apply_gate
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.circuit import Circuit, qsvt_circuit
from qnewton_gpu.encodings import WITH_GATES, encode
from qnewton_gpu.encodings.composition import block_diagonal, extended
from qnewton_gpu.errors import CombinationError, NotEnoughMemoryError
from qnewton_gpu.interop import to_qasm3, to_qiskit
from qnewton_gpu.noise import Trajectory
from qnewton_gpu.operators import KroneckerOperator, ToeplitzOperator, as_operator
from qnewton_gpu.simulation import MODES, Run, run_sequences
from qnewton_gpu.solvers import SOLVERS, make_solver
from qnewton_gpu.solvers.kernel_reflection import KernelOf

CPU = qn.select_backend("cpu")
PLAIN = ("matching", "banded", "dilation", "pauli")
"""Encodings of any symmetric matrix that have a gate program."""


def well_conditioned(n: int, seed: int = 0, indefinite: bool = False) -> np.ndarray:
    """kappa at most 3, by Gershgorin."""
    random = np.random.default_rng(seed)
    H = random.standard_normal((n, n))
    H = H + H.T
    shift = 2 * np.abs(H).sum(axis=1).max()
    return H + np.diag(np.where(np.arange(n) % 2, -shift, shift) if indefinite else np.full(n, shift))


def columns(n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, k))


def structured(name: str, backend: Any = CPU) -> tuple[Any, str]:
    """One system of each encoding with gates, and the encoding's name."""
    if name == "kronecker":
        factors = [well_conditioned(3, 1), well_conditioned(2, 2, indefinite=True)]
        return KroneckerOperator(factors, backend), name
    if name == "toeplitz":
        return ToeplitzOperator([2, 1], 4.0, [{1: -1.0}, {1: 0.5}], backend), name
    return as_operator(well_conditioned(5, 3, indefinite=True), backend), name


def unitary(program: Circuit) -> np.ndarray:
    state = np.eye(1 << program.num_qubits, dtype=complex)
    for gate in program:
        state = apply_gate(gate, state)
    return state


def kernel_of(encoding: Any, direction: np.ndarray, entry: Any) -> KernelOf:
    return KernelOf(extended(encoding, entry), direction / np.linalg.norm(direction, axis=0), CPU)


def last_unit_vector(n: int, k: int) -> np.ndarray:
    start = np.zeros((n + 1, k))
    start[-1] = 1.0
    return start


def same_solutions(one: Any, two: Any) -> None:
    assert one.status is two.status and one.queries == two.queries
    scale = max(1.0, float(np.abs(two.x).max(initial=0.0)))
    assert np.allclose(one.x, two.x, rtol=0, atol=1e-10 * scale)
    assert np.allclose(one.success_probability, two.success_probability, rtol=0, atol=1e-10)


# --- the program


@pytest.mark.parametrize("name", WITH_GATES)
@settings(max_examples=6)
@given(entry=st.sampled_from([-1.0, 0.3, 1.0]))
def test_one_more_unknown_keeps_the_gate_program(name: str, entry: float) -> None:
    """(<0| x I) U (|0> x I) = diag(H, 1/t)/alpha where the unknowns are; U is a Hermitian unitary."""
    encoding: Any = encode(structured(name)[0], CPU, name)
    longer = extended(encoding, entry * encoding.alpha)
    U, places = unitary(longer.circuit()), longer.places
    size = 1 << longer.system_qubits
    assert len(U) == size << longer.ancilla_qubits and len({*places}) == longer.shape[0] <= size
    assert np.allclose(U, U.conj().T, rtol=0, atol=1e-13) and np.allclose(U @ U, np.eye(len(U)), rtol=0, atol=1e-12)
    expected = np.zeros((size, longer.shape[0]))
    expected[places] = longer.operator.dense() / longer.alpha
    assert np.allclose(U[:size, places], expected, rtol=0, atol=1e-13)  # no unknown leads to what pads them


@settings(max_examples=12)
@given(
    parts=st.lists(st.tuples(st.integers(1, 3), st.sampled_from(PLAIN)), min_size=1, max_size=3),
    seed=st.integers(0, 10**6),
)
def test_block_diagonal_sums_of_gate_programs_are_one(parts: list[tuple[int, str]], seed: int) -> None:
    """Blocks of different sizes, ancillas and alphas, alone and in another sum."""
    made: list[Any] = [
        encode(as_operator(well_conditioned(n, seed + i), CPU), CPU, name) for i, (n, name) in enumerate(parts)
    ]
    for whole in (block_diagonal(made), block_diagonal([block_diagonal(made), made[0]])):
        U, places = unitary(whole.circuit()), whole.places
        assert np.allclose(U @ U, np.eye(len(U)), rtol=0, atol=1e-12)
        expected = np.zeros((1 << whole.system_qubits, whole.shape[0]))
        expected[places] = whole.operator.dense() / whole.alpha
        assert np.allclose(U[: len(expected), places], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", WITH_GATES)
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6), halves=st.integers(0, 4))
def test_any_even_sequence_is_the_same_in_all_modes(name: str, seed: int, halves: int) -> None:
    """Amplitudes, success probability, register norm and queries, for entries and right-hand sides of each column."""
    random = np.random.default_rng(seed)
    encoding: Any = encode(structured(name)[0], CPU, name)
    n = encoding.shape[0]
    kernel = kernel_of(encoding, columns(n, 2, seed), encoding.alpha * random.uniform(-1, 1, 2))
    phases, start = random.uniform(-np.pi, np.pi, 2 * halves + 1), last_unit_vector(n, 2)
    runs = [Run(kernel, phases, start, mode=mode) for mode in MODES]
    subspace, *others = run_sequences(runs, CPU)
    for other in others:
        for part in ("amplitudes", "success_probability", "register_norm"):
            assert np.allclose(getattr(other, part), getattr(subspace, part), rtol=0, atol=1e-12), part
        assert other.queries == subspace.queries
        assert np.allclose(np.linalg.norm(other.register(), axis=0), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["matching", "dilation", "pauli"])
def test_the_whole_program_is_a_unitary_that_leaves_the_real_part(name: str) -> None:
    H = well_conditioned(3, 4, indefinite=True)
    encoding: Any = encode(as_operator(H, CPU), CPU, name)
    kernel = kernel_of(encoding, columns(3, 1), 0.4 * encoding.alpha)
    phases = np.random.default_rng(5).uniform(-3, 3, 5)
    start = last_unit_vector(3, 1)
    outcome = Run(kernel, phases, start, mode="circuit").execute(CPU)
    program = qsvt_circuit(kernel.circuit(), kernel.system_qubits, phases, kernel.excluded)
    U, places = unitary(program), kernel.places
    assert np.allclose(U @ U.conj().T, np.eye(len(U)), rtol=0, atol=1e-12)
    assert np.allclose(U[places, places[-1]], outcome.amplitudes[:, 0], rtol=0, atol=1e-12)
    assert np.allclose(U[:, [places[-1]]], outcome.register(), rtol=0, atol=1e-12)
    counted = count(program)
    assert counted.queries == 4 and counted.gates["excluded_rz"] == 2 and counted.t_count > 0
    assert np.allclose(unitary(program.inverse()) @ U, np.eye(len(U)), rtol=0, atol=1e-12)


def test_the_whole_program_has_standard_gates() -> None:
    """Every gate can be exported, so that the whole kernel reflection can."""
    encoding: Any = encode(as_operator(well_conditioned(2), CPU), CPU, "matching")
    kernel = kernel_of(encoding, columns(2, 1), 0.4 * encoding.alpha)
    program = qsvt_circuit(kernel.circuit(), kernel.system_qubits, np.array([0.3, -1.2, 0.7]), kernel.excluded)
    from qiskit.quantum_info import Operator

    assert "excluded_rz" in to_qasm3(program)
    assert np.allclose(Operator(to_qiskit(program)).data, unitary(program), rtol=0, atol=1e-12)


# --- solves


@settings(max_examples=12)
@given(
    n=st.integers(1, 6),
    k=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    indefinite=st.booleans(),
    encoding=st.sampled_from(PLAIN),
    solver=st.sampled_from(["qsvt", "kernel_reflection"]),
)
def test_random_systems_are_solved_alike(
    n: int, k: int, seed: int, indefinite: bool, encoding: str, solver: str
) -> None:
    H, b = well_conditioned(n, seed, indefinite), columns(n, k, seed)
    options: dict[str, Any] = {"solver": solver, "encoding": encoding, "tolerance": 1e-3, "backend": "cpu"}
    circuit, fused, subspace = (qn.solve(H, b, mode=mode, **options) for mode in ("circuit", "fused", "subspace"))
    assert circuit.solved and circuit.resources["mode"] == "circuit" and circuit.ledger["arithmetic"] < 1e-10
    same_solutions(circuit, subspace)
    same_solutions(circuit, fused)
    assert np.linalg.norm(H @ circuit.x - b) <= 1e-3 * np.sqrt(k) * np.linalg.norm(b, axis=0).max()
    assert circuit.resources["gates"].queries == circuit.history[-1]["degree"]


@pytest.mark.parametrize("solver", ["qsvt", "kernel_reflection"])
@pytest.mark.parametrize("name", WITH_GATES)
def test_every_encoding_with_gates_on_every_backend(backend: Any, name: str, solver: str) -> None:
    H = structured(name, backend)[0]
    b = columns(H.shape[0], 2)
    options: dict[str, Any] = {"solver": solver, "encoding": name, "tolerance": 1e-2}
    here = qn.solve(H, b, mode="circuit", backend=backend, **options)
    there = qn.solve(structured(name)[0], b, mode="subspace", backend="cpu", **options)
    assert here.solved and here.resources["mode"] == "circuit"
    same_solutions(here, there)


def on_cpu(name: str) -> Any:
    """That backend on the CPU, whatever "auto" means while another backend is rehearsed."""
    kind, _, bond = name.partition(":")
    return TensornetBackend(CPU, int(bond) if bond else None) if kind == "tensornet" else CPU


@pytest.mark.parametrize("network", ["tensornet", "tensornet:64"])
@pytest.mark.parametrize("name", WITH_GATES)
def test_kernel_reflection_as_a_tensor_network(name: str, network: str) -> None:
    """Searched norms, alternating projectors and one circuit a column, exact and as matrix-product states."""
    backend = on_cpu(network)
    options: dict[str, Any] = {"solver": "kernel_reflection", "tolerance": 1e-2}
    H, b = structured(name)[0], columns(structured(name)[0].shape[0], 2)
    there = qn.solve(H, b, mode="circuit", encoding=name, backend="cpu", **options)
    here = qn.solve(structured(name, backend)[0], b, encoding=name, backend=backend, **options)
    assert here.solved and here.resources["mode"] == "circuit"
    same_solutions(here, there)


@pytest.mark.parametrize("network", ["tensornet", "tensornet:8"])
@pytest.mark.parametrize("solver", ["qsvt", "kernel_reflection"])
def test_one_unknown_as_a_tensor_network(solver: str, network: str) -> None:
    solution = qn.solve([[-2.0]], [1.0], solver=solver, encoding="matching", backend=on_cpu(network), tolerance=1e-3)
    assert solution.solved and np.allclose(solution.x, [-0.5], rtol=0, atol=1e-3)


def test_the_searching_circuits_are_gates_too() -> None:
    system = qn.LinearSystem(as_operator(well_conditioned(3), CPU), columns(3, 2), qn.SpectrumBounds(1, 99), 1e-2)
    method = make_solver("kernel_reflection", encoding="matching", mode="circuit").method(system, CPU)
    circuits = method.round(system.zeros(), system.rhs, 1e-2)
    seen, program = [], next(circuits)
    with pytest.raises(StopIteration):
        while True:
            seen.append((program.mode, program.measured))
            program = circuits.send(program.execute(CPU))
    assert len(seen) > 1 and {mode for mode, _ in seen} == {"circuit"}
    assert [measured for _, measured in seen] == [False] * (len(seen) - 1) + [True]


@pytest.mark.parametrize("backend_name", ["cpu", "tensornet"])
@pytest.mark.parametrize("solver", ["qsvt", "kernel_reflection"])
def test_a_block_diagonal_encoding_is_solved_by_gates(solver: str, backend_name: str) -> None:
    H = well_conditioned(3), well_conditioned(2, 1, indefinite=True)
    made: list[Any] = [
        encode(as_operator(h, CPU), CPU, name) for h, name in zip(H, ("matching", "dilation"), strict=True)
    ]
    b = columns(5, 2)
    options: dict[str, Any] = {"solver": solver, "tolerance": 1e-3}
    backend = on_cpu(backend_name)
    circuit = qn.solve(block_diagonal(made), b, mode="circuit", backend=backend, **options)
    same_solutions(circuit, qn.solve(block_diagonal(made), b, mode="subspace", backend="cpu", **options))
    assert circuit.solved and np.allclose(H[0] @ circuit.x[:3], b[:3], rtol=0, atol=2e-3 * np.linalg.norm(b))
    walk: Any = encode(as_operator(H[0], CPU), CPU, "walk")
    with pytest.raises(CombinationError, match="walk has no gate program"):
        qn.solve(block_diagonal([walk, made[1]]), b, mode="circuit", backend=backend, **options)


def test_with_a_known_norm_it_succeeds_as_often_as_the_theorem_says() -> None:
    H, b = well_conditioned(6), columns(6, 1)
    norm = float(np.linalg.norm(np.linalg.solve(H, b)))
    system = qn.LinearSystem(as_operator(H, CPU), b, qn.estimate_spectrum(H, backend="cpu"), 1e-4, expected_norm=norm)
    solution = make_solver("kernel_reflection", encoding="matching", mode="circuit").solve(system, CPU)
    assert solution.solved and solution.success_probability == pytest.approx(0.96, abs=0.01)


# --- what is asked for on purpose or by mistake


@pytest.mark.parametrize("encoding", PLAIN)
@pytest.mark.parametrize("matrix", [[[3.0]], [[-3.0]], np.eye(4), -2 * np.eye(3)], ids=["1", "-1", "I", "-I"])
@pytest.mark.parametrize("solver", ["qsvt", "kernel_reflection"])
def test_one_unknown_and_multiples_of_the_identity(solver: str, matrix: Any, encoding: str) -> None:
    H = np.array(matrix)
    b = columns(len(H), 2)
    b[:, 1] = 0.0  # a column that is solved without a circuit, beside one that is not
    solution = qn.solve(H, b, solver=solver, encoding=encoding, mode="circuit", tolerance=1e-3, backend="cpu")
    assert solution.solved and not solution.x[:, 1].any()
    assert np.allclose(H @ solution.x, b, rtol=0, atol=2e-3 * np.linalg.norm(b))


def test_nothing_but_zeros_is_solved_by_zero() -> None:
    solution = qn.solve(np.eye(2), np.zeros((2, 2)), solver="kernel_reflection", encoding="matching", mode="circuit",
                        backend="cpu")  # fmt: skip
    assert solution.solved and not solution.x.any()


def test_encodings_and_solvers_without_gates_are_refused() -> None:
    H, b = np.eye(3), np.ones(3)
    for solver in SOLVERS:
        if solver in ("qsvt", "kernel_reflection"):
            with pytest.raises(CombinationError, match="walk has no gate program"):
                qn.solve(H, b, solver=solver, encoding="walk", mode="circuit", backend="cpu")
    for solver in ("hhl", "cks", "adiabatic"):
        for options in ({"mode": "circuit", "backend": "cpu"}, {"backend": on_cpu("tensornet")}):
            with pytest.raises(CombinationError, match=f"{solver} cannot be run in mode 'circuit'.*or solver='qsvt'"):
                qn.solve(H, b, solver=solver, encoding="matching", **options)
    walk: Any = encode(as_operator(H, CPU), CPU, "walk")
    with pytest.raises(CombinationError, match="walk has no gate program"):
        extended(walk, 0.5 * walk.alpha).circuit()


def test_errors_that_do_nothing_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with errors after some queries is the program itself, phases, projectors and columns included."""
    monkeypatch.setattr("qnewton_gpu.noise.random_paulis", lambda *_: [])
    encoding: Any = encode(as_operator(well_conditioned(3), CPU), CPU, "matching")
    kernel = kernel_of(encoding, columns(3, 2), encoding.alpha * np.array([0.3, 0.8]))
    run = Run(kernel, np.random.default_rng(0).uniform(-3, 3, 7), last_unit_vector(3, 2), mode="circuit")
    struck = Trajectory.of(run, qn.Noise(), frozenset({1, 4}), np.random.default_rng(0)).execute(CPU)
    without = run.execute(CPU)
    for part in ("amplitudes", "success_probability", "register_norm"):
        assert np.allclose(getattr(struck, part), getattr(without, part), rtol=0, atol=1e-12), part


@pytest.mark.parametrize("noise", [qn.Noise(depolarising=1e-4, trajectories=4), qn.Noise(phase_error=1e-4)])
def test_kernel_reflection_bears_some_noise(noise: qn.Noise) -> None:
    H, b = well_conditioned(2), columns(2, 2)
    options: dict[str, Any] = {"solver": "kernel_reflection", "encoding": "matching", "mode": "circuit"}
    solution = qn.solve(H, b, noise=noise, tolerance=1e-2, backend="cpu", **options)
    assert solution.solved and np.allclose(H @ solution.x, b, rtol=0, atol=2e-2)


def test_amplified_kernel_reflection_leaves_the_same_state() -> None:
    encoding: Any = encode(as_operator(well_conditioned(2), CPU), CPU, "dilation")
    kernel = kernel_of(encoding, columns(2, 1), 0.4 * encoding.alpha)
    phases = np.random.default_rng(3).uniform(-3, 3, 3)
    plain, amplified = (amplify(kernel, phases, last_unit_vector(2, 1)[:, 0], m, CPU) for m in (0, 1))
    outcome = Run(kernel, phases, last_unit_vector(2, 1), mode="subspace").execute(CPU)
    assert np.allclose(plain.amplitudes, outcome.amplitudes[:, 0], rtol=0, atol=1e-12)
    turned = np.sin(3 * np.arcsin(np.sqrt(plain.success_probability)))
    expected = turned * plain.amplitudes / np.linalg.norm(plain.amplitudes)
    assert np.allclose(amplified.amplitudes, expected, rtol=0, atol=1e-12)


def test_the_reflection_of_b_is_part_of_the_predicted_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    encoding: Any = encode(as_operator(well_conditioned(16), CPU), CPU, "dilation")
    kernel = kernel_of(encoding, columns(16, 1), 0.5 * encoding.alpha)
    run = Run(kernel, np.zeros(3), last_unit_vector(16, 1), mode="circuit")
    assert kernel.gate_bytes >= kernel.excluded.gates[0].matrix.nbytes
    assert run.bytes_needed("circuit", CPU) > kernel.gate_bytes
    monkeypatch.setattr(type(CPU), "available_bytes", lambda self: int(kernel.gate_bytes))
    with pytest.raises(NotEnoughMemoryError, match="subspace"):
        run.execute(CPU)
