"""Which simulators can hold a case: as the doors of the solvers say, and more for what is larger."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu import LinearSystem, SpectrumBounds, Status
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.conditioning import estimate_spectrum
from qnewton_gpu.errors import CombinationError, NotEnoughMemoryError, ParameterError, UnknownNameError
from qnewton_gpu.operators import KroneckerOperator, as_operator, screened_poisson
from qnewton_gpu.planning.simulation_cases import case_of
from qnewton_gpu.planning.simulator_rates import REFERENCE
from qnewton_gpu.planning.simulators import SIMULATED_SOLVERS, Simulator, simulators
from qnewton_gpu.planning.stated import stated_system
from qnewton_gpu.solvers import make_solver
from qnewton_gpu.tensor_networks import MatrixProductState

CPU = select_backend("cpu")


def tridiagonal(n: int, tolerance: float = 1e-3) -> LinearSystem:
    A = sp.diags_array([-np.ones(n - 1), np.full(n, 2.5), -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
    bounds = SpectrumBounds(0.5, 4.5, certified=True, method="Gershgorin")
    rhs = np.random.default_rng(n).standard_normal((n, 1))
    return LinearSystem(as_operator(A, CPU), rhs, bounds, tolerance, expected_norm=float(np.linalg.norm(rhs)))


def poisson(*axes: int, kappa: float = 10.0) -> LinearSystem:
    operator = screened_poisson(axes, kappa, CPU)
    return LinearSystem(operator, np.ones((1, 1)), estimate_spectrum(operator), 1e-2)


def named(found: list[Simulator]) -> dict[str, Simulator]:
    return {one.name.split(":")[0] + ":" * (not one.exact): one for one in found}


def costs(system: LinearSystem, **options: Any) -> dict[str, tuple[float, float]]:
    """{simulator: (bytes, seconds)} on the reference's rates."""
    found = named(simulators(system, rates=REFERENCE, **options))
    return {name: (one.bytes, one.simulated_seconds) for name, one in found.items()}


def assert_no_less(smaller: dict[str, tuple[float, float]], larger: dict[str, tuple[float, float]]) -> None:
    for name, (needed, seconds) in smaller.items():
        assert needed <= larger[name][0] and seconds <= larger[name][1], name


@settings(max_examples=20)
@given(n=st.integers(6, 40), row=st.integers(1, 30), solver=st.sampled_from(SIMULATED_SOLVERS))
def test_a_larger_system_takes_no_less(n: int, row: int, solver: str) -> None:
    size = 2**n
    smaller, larger = (costs(stated_system(s, 30.0, row), solver=solver, bond_dimension=8) for s in (size, 4 * size))
    assert_no_less(smaller, larger)
    denser = costs(stated_system(size, 30.0, row + 2), solver=solver, bond_dimension=8)
    assert_no_less(smaller, denser)


@settings(max_examples=15)
@given(kappa=st.floats(2, 1e4), tolerance=st.floats(1e-5, 0.3), solver=st.sampled_from(SIMULATED_SOLVERS))
def test_more_queries_take_no_less_time_and_the_same_memory(kappa: float, tolerance: float, solver: str) -> None:
    few, many = (stated_system(256, k, 4, tolerance=tolerance) for k in (kappa, 3 * kappa))
    first, second = (simulators(system, solver, rates=REFERENCE) for system in (few, many))
    for a, b in zip(first, second, strict=True):
        assert a.queries < b.queries and a.simulated_seconds <= b.simulated_seconds
        assert a.bytes <= b.bytes <= (2 * a.bytes if a.name != "tensornet" else math.inf)


@settings(max_examples=15)
@given(bond=st.integers(1, 300), axes=st.sampled_from([(9,), (24,), (6, 7), (20, 20)]))
def test_a_larger_bond_takes_no_less(bond: int, axes: tuple[int, ...]) -> None:
    smaller, larger = (costs(poisson(*axes), bond_dimension=chi)["tensornet:"] for chi in (bond, 2 * bond))
    assert smaller[0] <= larger[0] and smaller[1] <= larger[1]


@pytest.mark.parametrize("solver", SIMULATED_SOLVERS)
@pytest.mark.parametrize(("mode", "encoding"), [("subspace", "walk"), ("fused", "walk"), ("fused", "matching"),
                                               ("circuit", "matching"), ("circuit", "banded")])  # fmt: skip
def test_what_cannot_hold_is_what_the_door_of_the_solve_refuses(
    mode: str, encoding: str, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tridiagonal(48)
    needed = named(simulators(system, solver, encoding=encoding))[mode].bytes
    made = make_solver(solver, encoding=encoding, mode=mode)
    for free in (needed - 1, needed):
        monkeypatch.setattr(type(CPU), "available_bytes", lambda self, free=free: free)
        one = named(simulators(system, solver, encoding=encoding))[mode]
        try:
            refused = made.solve(replace(system, encodings={}), CPU).status is Status.NO_MEMORY
        except NotEnoughMemoryError:
            refused = True
        assert refused is not one.holds and one.holds == (free == needed)
        assert one.holds or "too large " in one.why
        assert one.available_bytes == free


@pytest.mark.parametrize("n", [4, 11, 16])
def test_no_path_costs_more_than_the_order_in_time(n: int) -> None:
    """The bound that is predicted, against what the engine finds for the network that a solve contracts."""
    pytest.importorskip("cotengra")
    system, backend = tridiagonal(n), TensornetBackend(CPU)
    (circuit,) = case_of("tensornet", system, "qsvt", "matching", CPU).circuits
    assert circuit.program is not None
    solution = make_solver("qsvt", encoding="matching", mode="circuit").solve(system, backend)
    assert solution.solved and solution.queries == circuit.queries
    one = named(simulators(system, encoding="matching"))["tensornet"]
    paths = [path for path, _ in backend._kept.values()]
    assert paths and min(path.bytes for path in paths) <= one.bytes
    assert min(path.flops for path in paths) <= circuit.exact.flops * (circuit.queries + 2)


def test_a_chain_that_fits_is_held_in_the_bytes_predicted() -> None:
    operator = screened_poisson([10], 10.0, CPU)
    rhs = MatrixProductState.product([np.array([1.0, 0.5])] * 10)
    solution = qn.solve(operator, rhs, solver="qsvt", tolerance=1e-2, backend="tensornet:32")
    bond = solution.resources["bond_dimension"]
    one = named(simulators(poisson(10), bond_dimension=bond))["tensornet:"]
    assert solution.solved and one.queries == pytest.approx(solution.queries, rel=0.1)
    assert solution.resources["bytes"] <= one.bytes < 100 * solution.resources["bytes"]


@pytest.mark.parametrize(("mode", "encoding"), [("subspace", "walk"), ("fused", "walk"), ("circuit", "matching")])
@pytest.mark.parametrize("solver", SIMULATED_SOLVERS)
def test_predicted_memory_is_near_the_peak(mode: str, encoding: str, solver: str) -> None:
    system = tridiagonal(4096 if mode != "circuit" else 512)
    made = make_solver(solver, encoding=encoding, mode=mode)
    assert made.solve(system, CPU).solved  # phase factors and imports
    peaks = []
    for _ in range(2):  # what else is made once in the first is not in the second
        tracemalloc.start()
        made.solve(system, CPU)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    peak = min(peaks)
    predicted = named(simulators(system, solver, encoding=encoding))[mode].bytes
    assert 0.5 * peak < predicted < 4 * peak


def test_a_stated_system_is_simulated_as_a_real_one_with_these_numbers() -> None:
    n = 64
    real = replace(tridiagonal(n), expected_norm=1.0, rhs=np.ones((n, 1)) / np.sqrt(n))
    walk = named(simulators(real, encoding="walk", rates=REFERENCE))
    solver: Any = make_solver("qsvt", encoding="walk")
    alpha = solver.method(real, CPU).encoding.alpha / 4.5
    stated = named(simulators(stated_system(n, 9.0, 3, alpha, 1e-3), rates=REFERENCE))
    matrix = 12 * 3 * n
    for name in ("subspace", "fused"):
        assert stated[name].queries == walk[name].queries
        assert stated[name].bytes - matrix == pytest.approx(walk[name].bytes, rel=0.02)  # 3 N entries, not 3 N - 2
        assert stated[name].simulated_seconds == pytest.approx(walk[name].simulated_seconds, rel=0.02)
    matching = named(simulators(real, encoding="matching"))["circuit"]
    assert (stated["circuit"].qubits or 0) >= (matching.qubits or 0)  # greedy colours are fewer than their bound


def test_an_exact_simulator_that_fits_is_recommended_and_the_fastest() -> None:
    for system in (stated_system(1024, 100.0, 8), tridiagonal(64), poisson(8)):
        found = simulators(system, bond_dimension=4)
        (chosen,) = (one for one in found if one.recommended)
        assert chosen.exact and chosen.holds and chosen.why == "the fastest exact one that fits"
        for one in found:
            assert not (one.exact and one.holds) or one.simulated_seconds >= chosen.simulated_seconds
            assert one.why and math.isfinite(one.available_bytes)


def test_two_to_the_forty_points_fit_a_chain_only() -> None:
    found = simulators(poisson(20, 20, kappa=100.0), bond_dimension=32)
    assert [one.name for one in found if one.holds] == ["tensornet:32"]
    (chosen,) = (one for one in found if one.recommended)
    assert "whether its bond dimension suffices only a run tells" in chosen.why
    assert chosen.qubits == 44 and chosen.queries == 571
    worst = named(simulators(poisson(20, 20, kappa=100.0)))["tensornet:"]
    assert worst.name == f"tensornet:{2**20}" and not worst.holds
    reflected = simulators(poisson(20, 20, kappa=100.0), "kernel_reflection", bond_dimension=32)
    assert not any(one.holds or one.recommended for one in reflected)


def test_factors_of_a_kronecker_operator_are_simulated_one_by_one() -> None:
    parts = [np.diag([1.0, 2.0, 4.0]), np.array([[2.0, 1.0], [1.0, 3.0]])]
    operator = KroneckerOperator(parts, backend=CPU)
    system = LinearSystem(operator, np.ones((6, 1)), estimate_spectrum(operator, backend=CPU), 1e-3)
    found = named(simulators(system))
    assert found["circuit"].encoding == "kronecker"
    solution = make_solver("qsvt", encoding="kronecker", mode="circuit").solve(system, CPU)
    assert solution.solved and found["circuit"].queries == solution.queries


def test_what_has_no_gate_program_says_so() -> None:
    A = np.diag(np.linspace(1.0, 2.0, 6)) + np.triu(np.full((6, 6), 0.1), 1)
    operator = as_operator(A, CPU)
    system = LinearSystem(operator, np.ones((6, 1)), estimate_spectrum(operator, backend=CPU), 1e-2)
    found = named(simulators(system, encoding="two_sided"))
    assert found["subspace"].holds and found["subspace"].recommended
    for name in ("circuit", "tensornet", "tensornet:"):
        assert not found[name].holds and "two_sided has no gate program" in found[name].why


@pytest.mark.parametrize(
    ("options", "error", "fragment"),
    [
        ({"solver": "qsvtt"}, UnknownNameError, "did you mean 'qsvt'"),
        ({"solver": "lu"}, UnknownNameError, "unknown name 'lu'"),
        ({"bond_dimension": 0}, ParameterError, "bond_dimension: 0 is not a whole number"),
        ({"bond_dimension": 2.5}, ParameterError, "bond_dimension: 2.5"),
        ({"bond_dimension": True}, ParameterError, "bond_dimension: True"),
        ({"bond_dimension": 2**21}, ParameterError, "bond_dimension: 2097152"),
        ({"encoding": "wakl"}, UnknownNameError, "did you mean 'walk'"),
        ({"backend": "gpux"}, UnknownNameError, "unknown name 'gpux'"),
    ],
)
def test_what_is_no_option_is_refused(options: dict[str, Any], error: type[Exception], fragment: str) -> None:
    with pytest.raises(error, match=fragment):
        simulators(tridiagonal(8), **options)


def test_an_encoding_that_cannot_serve_at_all_holds_nothing() -> None:
    found = simulators(tridiagonal(8), encoding="gram")
    assert not any(one.holds for one in found) and all("gram" in one.why for one in found)
    with pytest.raises(CombinationError):
        case_of("subspace", tridiagonal(8), "qsvt", "gram", CPU)


def test_a_matrix_and_an_operator_are_cases_themselves() -> None:
    case = tridiagonal(16, tolerance=1e-2)
    matrix, bounds = case.operator.dense(), estimate_spectrum(case.operator)
    expected = simulators(LinearSystem(case.operator, np.ones((16, 1)), bounds, 1e-2), rates=REFERENCE, encoding="walk")
    found = simulators(matrix, rates=REFERENCE, encoding="walk", backend=CPU)
    assert [one.queries for one in found] == [one.queries for one in expected]
    assert simulators(matrix, rates=REFERENCE, tolerance=1e-8)[0].queries > found[0].queries
    with pytest.raises(ParameterError, match="tolerance"):
        simulators(matrix, rates=REFERENCE, tolerance=2.0)


def test_where_no_chain_of_the_largest_bond_fits_a_stated_one_is_suggested() -> None:
    operator = screened_poisson([15, 15], 10.0, CPU)
    unstated, stated = (simulators(operator, rates=REFERENCE, bond_dimension=bond)[-1] for bond in (None, 64))
    assert not unstated.holds and "a stated one, such as 64" in unstated.why
    assert stated.holds and stated.recommended
