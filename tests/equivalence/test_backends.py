"""One suite for every backend: arrays, solvers, encodings, modes, gate programs and training give what the CPU gives.

On a CPU it runs the GPU backend as a rehearsal on stand-ins; `make test-gpu` runs it on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from standins.run_in_memory import Discarded

import qnewton_gpu as qn
from qnewton_gpu.circuit import Circuit, MatrixGate, PermutationGate, qsvt_circuit
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import NotEnoughMemoryError
from qnewton_gpu.operators import GramOperator, as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import RegisterBudget, Run, choose_mode, run_sequence, run_sequences
from qnewton_gpu.training import TrainConfig, Training

CPU = qn.select_backend("cpu")


@contextmanager
def launches(backend: Any, expected: int) -> Iterator[None]:
    """Where the kernels can be counted, in the rehearsal: as many were launched as are expected."""
    from standins.cupy_standin import RawModule

    before = RawModule.launches
    yield
    if "rehearsal" in backend.device:
        assert RawModule.launches - before == expected


def recorded(queries: int, launches_each: int = 1) -> int:
    """Launches of a sequence: those of its queries, and one to move the counter on after each graph."""
    graphs = queries // 32 if queries >= 64 else 0
    return queries * launches_each + graphs


def well_conditioned(n: int, density: float = 1.0, indefinite: bool = True) -> np.ndarray:
    random = np.random.default_rng(n)
    H = random.standard_normal((n, n)) * (random.random((n, n)) < density)
    H = H + H.T
    shift = 2 * np.abs(H).sum(axis=1).max()
    return H + np.diag(np.where(np.arange(n) % 2, -shift, shift) if indefinite else np.full(n, shift))


def unit_columns(n: int, k: int, seed: int = 0) -> np.ndarray:
    start = np.random.default_rng(seed).standard_normal((n, k))
    return start / np.linalg.norm(start, axis=0)


# --- arrays


def test_arrays_cross_and_come_back(backend: Any) -> None:
    host = np.arange(6.0).reshape(3, 2)
    array = backend.asarray(host)
    assert isinstance(array, backend.xp.ndarray) and np.array_equal(backend.to_numpy(array), host)
    tensor = backend.to_torch(array)
    assert torch.equal(tensor.cpu(), torch.from_numpy(host))
    again = backend.asarray(tensor)
    again[0, 0] = 7.0
    assert float(tensor[0, 0]) == 7.0, "a tensor that is on the device crosses without a copy"
    assert backend.asarray(torch.ones(2, requires_grad=True)).shape == (2,)
    assert str(tensor.device) == str(torch.zeros(1, device=backend.torch_device).device)
    assert backend.available_bytes() > 2**20 and backend.device


def test_sums_of_rows(backend: Any) -> None:
    values = np.arange(12.0).reshape(6, 2) * (1 + 1j)
    sums = backend.row_sums(backend.asarray(values), backend.asarray(np.array([0, 1, 4])))
    assert np.allclose(backend.to_numpy(sums), (1 + 1j) * np.array([[0, 1], [12, 15], [18, 20]]))


@pytest.mark.parametrize("sparse", [False, True])
def test_real_products_of_complex_vectors(backend: Any, sparse: bool) -> None:
    H = well_conditioned(9, 0.5)
    v = unit_columns(9, 3) + 1j * unit_columns(9, 3, seed=1)
    matrix = backend.csr(sp.csr_array(H)) if sparse else backend.asarray(H)
    for vectors in (v, v.real, v[:, :1]):
        product = backend.real_product(matrix, backend.asarray(vectors))
        assert np.allclose(backend.to_numpy(product), H @ vectors, rtol=0, atol=1e-12)


def test_direct_solves_and_conjugate_gradients(backend: Any) -> None:
    H, b = well_conditioned(12, indefinite=False), unit_columns(12, 1)
    expected = np.linalg.solve(H, b)
    device_H, device_b = backend.asarray(H), backend.asarray(b)
    for solve in (backend.cholesky_solve, backend.lu_solve):
        assert np.allclose(backend.to_numpy(solve(device_H, device_b)), expected, rtol=0, atol=1e-14)
    x = backend.conjugate_gradients(lambda v: device_H @ v, device_b, 1e-12, 100)
    assert x.shape == (12, 1) and np.allclose(backend.to_numpy(x), expected, rtol=0, atol=1e-12)
    with pytest.raises(np.linalg.LinAlgError):
        backend.cholesky_solve(-device_H, device_b)
    with pytest.raises(np.linalg.LinAlgError):
        backend.lu_solve(0 * device_H, device_b)


# --- circuits


@pytest.mark.parametrize("queries", [1, 2, 31, 70])
@pytest.mark.parametrize("name", ["walk", "matching", "dilation"])
@pytest.mark.parametrize("n", [1, 6, 45])
def test_registers_are_those_of_the_cpu(backend: Any, n: int, name: str, queries: int) -> None:
    """70 queries are two recorded graphs of 32 and six launches."""
    H = sp.csr_array(well_conditioned(n, 0.2)) if n == 45 else well_conditioned(n)
    start, phases = unit_columns(n, 2), np.random.default_rng(queries).uniform(-3, 3, queries + 1)
    expected = run_sequence(encode(as_operator(H, CPU), CPU, name), phases, start, CPU, mode="fused")
    encoding = encode(as_operator(H, backend), backend, name)
    for mode in ("fused", "subspace"):
        kernels = recorded(queries) + 2 * (name == "walk" and mode == "fused")  # lift and lower
        with launches(backend, 0 if name == "dilation" and mode == "fused" else kernels):
            outcome = run_sequence(encoding, phases, backend.asarray(start), backend, mode=mode)
        assert outcome.queries == queries
        for part in ("amplitudes", "success_probability", "register_norm"):
            found = backend.to_numpy(getattr(outcome, part))
            assert np.allclose(found, getattr(expected, part), rtol=0, atol=1e-12), (mode, part)
        if mode == "fused":
            assert np.allclose(backend.to_numpy(outcome.register()), expected.register(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("queries", [1, 4, 67])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (9, 4), (3, 40), (20, 20)])
def test_gram_registers_are_those_of_the_cpu(backend: Any, m: int, n: int, side: Any, queries: int) -> None:
    G = np.random.default_rng(m).standard_normal((m, n))
    start = unit_columns(n if side == "right" else m + n, 2)
    phases = np.random.default_rng(queries).uniform(-3, 3, queries + 1)
    cpu, here = (encode(GramOperator(G, 0.4, b), b, "gram") for b in (CPU, backend))
    expected = run_sequence(cpu, phases, start, CPU, side=side, mode="fused")
    passes = (queries + 2) // 2 if side == "right" else (queries + 3) // 2  # a right and a left phase in each
    with launches(backend, recorded(passes, 2)):
        outcome = run_sequence(here, phases, backend.asarray(start), backend, side=side, mode="fused")
    assert np.allclose(backend.to_numpy(outcome.register()), expected.register(), rtol=0, atol=1e-12)
    assert np.allclose(backend.to_numpy(outcome.amplitudes), expected.amplitudes, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["fused", "subspace"])
def test_many_systems_of_different_length_in_one_batch(backend: Any, mode: str) -> None:
    random, sizes, queries = np.random.default_rng(3), (5, 1, 33, 8), (40, 3, 71, 70)
    matrices = [well_conditioned(n, 0.5) if n != 33 else sp.csr_array(well_conditioned(n, 0.1)) for n in sizes]
    phases = [random.uniform(-3, 3, d + 1) for d in queries]
    starts = [unit_columns(n, 3 if n == 5 else 2, seed=n) for n in sizes]  # one of another width
    runs = [
        Run(encode(as_operator(H, backend), backend, "walk"), p, backend.asarray(v), mode=mode)
        for H, p, v in zip(matrices, phases, starts, strict=True)
    ]
    # three systems of two columns share launches, 71 queries at most; the other one has 40; two lifts, three lowers
    with launches(backend, recorded(71) + recorded(40) + 5 * (mode == "fused")):
        outcomes = run_sequences(runs, backend)
    for outcome, H, p, v in zip(outcomes, matrices, phases, starts, strict=True):
        alone = run_sequence(encode(as_operator(H, CPU), CPU, "walk"), p, v, CPU, mode=mode)
        assert outcome.queries == alone.queries
        for part in ("amplitudes", "success_probability", "register_norm"):
            found = backend.to_numpy(getattr(outcome, part))
            assert np.allclose(found, getattr(alone, part), rtol=0, atol=1e-12)
        assert np.allclose(backend.to_numpy(outcome.register()), alone.register(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["gram", "matching"])
def test_systems_that_cannot_share_launches_have_their_own(backend: Any, name: str) -> None:
    operators = [as_operator(well_conditioned(n), backend) for n in (4, 6)]
    if name == "gram":
        operators = [GramOperator(well_conditioned(n), 0.5, backend) for n in (4, 6)]
    phases = np.random.default_rng(0).uniform(-3, 3, 6)
    runs = [
        Run(encode(o, backend, name), phases, backend.asarray(unit_columns(o.shape[0], 1)), mode="fused")
        for o in operators
    ]
    with launches(backend, 2 * (5 if name == "matching" else 2 * 3)):
        outcomes = run_sequences(runs, backend)
    for outcome in outcomes:
        assert np.allclose(backend.to_numpy(outcome.register_norm), 1, rtol=0, atol=1e-13)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_gate_programs_run_alike(backend: Any, n: int, columns: int) -> None:
    H, phases = well_conditioned(n), phase_factors(inverse_polynomial(3, 1e-2)).reflection
    start = unit_columns(n, columns)
    encoding = encode(as_operator(H, backend), backend, "matching")
    results = [
        run_sequence(encoding, phases, backend.asarray(start), backend, mode=mode)
        for mode in ("circuit", "fused", "subspace")
    ]
    for other in results[1:]:
        for part in ("amplitudes", "success_probability", "register_norm"):
            one, two = (backend.to_numpy(getattr(r, part)) for r in (results[0], other))
            assert np.allclose(one, two, rtol=0, atol=1e-10)


def test_every_kind_of_gate(backend: Any) -> None:
    random = np.random.default_rng(1)
    unitary, _ = np.linalg.qr(random.standard_normal((4, 4)) + 1j * random.standard_normal((4, 4)))
    circuit = Circuit(4)
    circuit.append(MatrixGate("two targets", unitary, (2, 0)))
    circuit.append(MatrixGate("controlled", unitary[:2, :2] * 0 + np.array([[0, 1], [1, 0]]), (1,), (3, 0), (0, 1)))
    # no involution: the direction of a permutation shows
    circuit.permute(np.array([2, 0, 3, 1, 4, 6, 7, 5]), (1, 3, 0), label="select")
    circuit.append(PermutationGate("diagonal", (3, 1), diagonal=np.exp(1j * random.standard_normal(4))))
    phase = np.exp(1j * random.standard_normal(4))
    circuit.append(PermutationGate("both", (0, 2), permutation=np.array([1, 2, 3, 0]), diagonal=phase))
    start = unit_columns(16, 3)
    states = [b.state_vector(b.asarray(start), 4) for b in (CPU, backend)]
    for state in states:
        state.run(circuit)
    assert np.allclose(backend.to_numpy(states[1].amplitudes), states[0].amplitudes, rtol=0, atol=1e-14)


@pytest.mark.parametrize("columns", [1, 3])
def test_measurement(backend: Any, columns: int) -> None:
    start = unit_columns(32, columns)
    states = [b.state_vector(b.asarray(start), 5) for b in (CPU, backend)]
    for qubits in ((), (3,), (4, 1), range(1, 5)):
        expected, found = (state.probability(qubits) for state in states)
        assert np.allclose(backend.to_numpy(found), expected, rtol=0, atol=1e-14)
    expected, found = (state.postselect((4, 1)) for state in states)
    assert np.allclose(backend.to_numpy(found), expected, rtol=0, atol=1e-14)
    amplitudes = backend.to_numpy(states[1].amplitudes)
    assert np.allclose(amplitudes, states[0].amplitudes, rtol=0, atol=1e-14)
    assert np.allclose(np.linalg.norm(amplitudes, axis=0), 1, rtol=0, atol=1e-14)
    assert not amplitudes[2].any() and not amplitudes[16:].any()


def test_shots_follow_the_amplitudes(backend: Any) -> None:
    start, shots = unit_columns(8, 2), 20000
    state = backend.state_vector(backend.asarray(start), 4)
    found = state.sample(shots, seed=5, column=1)
    assert np.array_equal(found, backend.state_vector(backend.asarray(start), 4).sample(shots, seed=5, column=1))
    counts, expected = np.bincount(found, minlength=16), shots * np.append(start[:, 1] ** 2, np.zeros(8))
    assert not counts[8:].any()
    # chi squared with 7 degrees of freedom is above 29 once in 10,000 seeds
    assert ((counts - expected)[:8] ** 2 / expected[:8]).sum() < 29


# --- solving


@pytest.mark.parametrize("solver", ["cholesky", "lu", "cg", "auto"])
@pytest.mark.parametrize("sparse", [False, True])
def test_classical_solvers(backend: Any, solver: str, sparse: bool) -> None:
    H, b = well_conditioned(30, 0.3, indefinite=False), unit_columns(30, 2)
    solution = qn.solve(sp.csr_array(H) if sparse else H, b, solver=solver, tolerance=1e-9, backend=backend)
    assert solution.solved and np.allclose(solution.x, np.linalg.solve(H, b), rtol=0, atol=1e-8)


CASES = [("walk", "subspace"), ("walk", "fused"), ("matching", "fused"), ("matching", "circuit"), ("dilation", "fused")]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("indefinite", [False, True])
@pytest.mark.parametrize(("encoding", "mode"), CASES)
def test_qsvt_solves_what_the_cpu_solves(
    backend: Any, encoding: str, mode: str, indefinite: bool, sparse: bool
) -> None:
    H, b = well_conditioned(7, 0.6, indefinite), unit_columns(7, 2)
    A = sp.csr_array(H) if sparse else H
    options = {"solver": "qsvt", "encoding": encoding, "tolerance": 1e-9}
    here, cpu = (qn.solve(A, b, mode=m, backend=k, **options) for m, k in ((mode, backend), ("subspace", "cpu")))
    assert here.solved and here.resources["mode"] == mode and here.queries == cpu.queries
    assert np.allclose(here.x, cpu.x, rtol=0, atol=1e-10)
    assert here.success_probability == pytest.approx(cpu.success_probability, abs=1e-10)
    assert np.allclose(here.x, np.linalg.solve(H, b), rtol=1e-7, atol=0)


@pytest.mark.parametrize("mode", ["subspace", "fused"])
@pytest.mark.parametrize("sparse", [False, True])
def test_gram_systems(backend: Any, mode: str, sparse: bool) -> None:
    G = np.random.default_rng(0).standard_normal((12, 8)) * (np.random.default_rng(1).random((12, 8)) < 0.6)
    b, factor = unit_columns(8, 1), sp.csr_array(G) if sparse else G
    here = qn.solve(GramOperator(factor, 0.5, backend), b, solver="qsvt", mode=mode, tolerance=1e-8)
    cpu = qn.solve(GramOperator(factor, 0.5, "cpu"), b, solver="qsvt", tolerance=1e-8)
    assert here.solved and here.resources["mode"] == mode and np.allclose(here.x, cpu.x, rtol=0, atol=1e-10)
    assert here.success_probability == pytest.approx(cpu.success_probability, abs=1e-10)


def test_arrays_in_are_arrays_out(backend: Any) -> None:
    H, b = well_conditioned(6), unit_columns(6, 1)[:, 0]
    expected = np.linalg.solve(H, b)
    kinds = {
        "numpy": lambda a: a,
        "torch": torch.from_numpy,
        "torch on the device": lambda a: torch.from_numpy(a).to(backend.torch_device),
        "array of the backend": backend.asarray,
    }
    for kind, convert in kinds.items():
        given = convert(b.copy())
        x = qn.solve(convert(H.copy()), given, solver="lu", tolerance=1e-10, backend=backend).x
        assert type(x) is type(given) and x.shape == given.shape, kind
        assert not hasattr(given, "device") or str(x.device) == str(given.device)
        on_host = x if isinstance(x, np.ndarray) else backend.to_numpy(backend.asarray(x))
        assert np.allclose(on_host, expected), kind
    half = torch.from_numpy(b).to(backend.torch_device, torch.float32)
    assert qn.solve(H, half, solver="qsvt", backend=backend, tolerance=1e-3).x.dtype == torch.float32


def test_layers_of_a_step_share_launches(backend: Any) -> None:
    systems = []
    for n in (4, 9):
        operator = as_operator(well_conditioned(n), backend)
        bounds = qn.estimate_spectrum(operator, backend=backend)
        rhs = backend.asarray(unit_columns(n, 1))
        systems.append(qn.LinearSystem(operator, rhs, bounds, 1e-8, name=f"layer {n}"))
    scheduler = qn.Scheduler(solver="qsvt", backend=backend, encoding="walk")
    together = scheduler.solve_many(systems)
    for system, (solution, _) in zip(systems, together, strict=True):
        alone, _ = scheduler.solve(system)
        assert solution.solved and solution.queries == alone.queries
        assert np.allclose(backend.to_numpy(solution.x), backend.to_numpy(alone.x), rtol=0, atol=1e-12)


# --- memory


def test_a_register_that_does_not_fit_is_refused_with_what_would(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(backend), "available_bytes", lambda self: 20_000)
    H, b = well_conditioned(30), unit_columns(30, 1)
    with pytest.raises(NotEnoughMemoryError, match="subspace"):
        qn.solve(H, b, solver="qsvt", encoding="walk", mode="fused", backend=backend, bounds=qn.SpectrumBounds(1, 99))


def test_running_out_on_the_way_names_the_need_and_the_next_smaller_mode(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise backend.out_of_memory[-1]("CUDA out of memory, as told")

    monkeypatch.setattr(type(backend), "register_program", fail)
    solution = qn.solve(well_conditioned(9), unit_columns(9, 1), solver="qsvt", encoding="walk", mode="fused",
                        backend=backend)  # fmt: skip
    assert solution.status.name == "NO_MEMORY"
    assert "as told" in solution.message and "GiB were predicted" in solution.message
    assert "mode='subspace' needs" in solution.message


def test_mode_auto_keeps_the_register_within_its_budget(backend: Any) -> None:
    dilation = encode(as_operator(well_conditioned(30), backend), backend, "dilation")
    assert choose_mode("auto", dilation, 100, 1, backend, RegisterBudget()) == "subspace", "it has no kernel"
    encoding = encode(as_operator(well_conditioned(30), backend), backend, "walk")
    chosen = choose_mode("auto", encoding, 100, 1, backend, RegisterBudget())
    assert chosen == ("subspace" if backend.name == "cpu" else "fused")
    assert choose_mode("auto", encoding, 10**6, 1, backend, RegisterBudget(seconds=1e-3)) == "subspace"
    assert choose_mode("auto", encoding, 100, 1, backend, RegisterBudget(memory_share=1e-9)) == "subspace"


# --- training


def train(backend: str, **options: Any) -> list[dict[str, Any]]:
    return Training(TrainConfig(backend=backend, **options), Discarded()).run()


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": (), "solver": "qsvt", "mode": "subspace"},
        {"hidden": (), "solver": "qsvt", "mode": "fused", "batch_size": 4},
        {"hidden": (4,), "partition": "layer", "solver": "cholesky"},
        {"hidden": (1,), "density": 0.04, "solver": "qsvt", "encoding": "matching", "mode": "circuit", "damping": 2.0},
        {
            "hidden": (2,),
            "curvature": "fisher",
            "partition": "layer",
            "solver": "qsvt",
            "mode": "subspace",
            "batch_size": 64,
            "damping": 1.0,
        },
    ],
    ids=["gram subspace", "gram fused", "layers", "gates", "layers together"],
)
def test_training_is_that_of_the_cpu(backend: Any, options: dict[str, Any]) -> None:
    here, cpu = train(backend.name, steps=2, **options), train("cpu", steps=2, **options)
    for one, two in zip(here, cpu, strict=True):
        assert one["accuracy"] == two["accuracy"] and one["accepted"] == two["accepted"]
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-8)
        for a, b in zip(one["systems"], two["systems"], strict=True):
            assert a["solver"] == b["solver"] and a["status"] == b["status"] == "solved"
            assert a["queries"] == b["queries"] and a["mode"] == b["mode"]


def test_qsvt_circuits_of_the_whole_program_agree(backend: Any) -> None:
    """The state after the last gate, failure included."""
    encoding: Any = encode(as_operator(well_conditioned(4), CPU), CPU, "matching")
    phases = phase_factors(inverse_polynomial(2, 1e-1)).reflection
    program = qsvt_circuit(encoding.circuit(), encoding.system_qubits, phases)
    states = [b.state_vector(b.asarray(unit_columns(4, 1)), program.num_qubits) for b in (CPU, backend)]
    for state in states:
        state.run(program)
    assert np.allclose(backend.to_numpy(states[1].amplitudes), states[0].amplitudes, rtol=0, atol=1e-12)
