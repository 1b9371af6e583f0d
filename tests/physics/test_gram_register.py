"""The whole register of the gram encoding: two isometries for any factor, and the answers of the subspace mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu import LinearSystem
from qnewton_gpu.backends import select_backend
from qnewton_gpu.curvature import Objective
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.gram import GramEncoding
from qnewton_gpu.operators import GramOperator
from qnewton_gpu.simulation import run_sequence
from qnewton_gpu.solvers import make_solver
from qnewton_gpu.systems import TorchFactor

CPU = select_backend("cpu")
SHAPES = {"m < n": (3, 8), "m > n": (9, 4), "n = 1": (7, 1), "m = 1": (1, 6), "1 x 1": (1, 1)}
SMALLEST = 5e-324


def damped(encoding: GramEncoding) -> np.ndarray:
    """G~ = [G; sqrt(delta) I]."""
    return np.vstack([encoding.factor.rows(), encoding.root_damping * np.eye(encoding.factor.shape[1])])


def check_register(encoding: GramEncoding) -> None:
    m, n = encoding.factor.shape
    N, M = encoding.lift(np.eye(n), "right"), encoding.lift(np.eye(m + n), "left")
    assert N.shape == (encoding.register_size, n) and M.shape == (encoding.register_size, m + n)
    assert np.allclose(N.T @ N, np.eye(n), rtol=0, atol=1e-13)
    assert np.allclose(M.T @ M, np.eye(m + n), rtol=0, atol=1e-13)
    assert np.allclose(M.T @ encoding.reflect(N), damped(encoding) / encoding.alpha, rtol=0, atol=1e-13)
    random = np.random.default_rng(0)
    psi = random.standard_normal((encoding.register_size, 3)) + 1j * random.standard_normal((encoding.register_size, 3))
    assert np.allclose(encoding.lower(psi, "right"), N.T @ psi, rtol=0, atol=1e-12)
    assert np.allclose(encoding.lower(psi, "left"), M.T @ psi, rtol=0, atol=1e-12)
    for side, isometry in (("right", N), ("left", M)):
        v = random.standard_normal((isometry.shape[1], 2)) + 1j * random.standard_normal((isometry.shape[1], 2))
        assert np.allclose(encoding.lift(v, side), isometry @ v, rtol=0, atol=1e-13)


@st.composite
def factors(draw: st.DrawFn, shape: tuple[int, int]) -> np.ndarray:
    """Rows of any length, from none to the underflow of a softmax, whose square FP64 cannot hold."""
    scales = draw(
        st.lists(st.sampled_from([0.0, SMALLEST, 1e-162, 1e-3, 1.0, 50.0]), min_size=shape[0], max_size=shape[0])
    )
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))).standard_normal(shape) * np.array(scales)[:, None]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@given(data=st.data())
def test_lifts_are_isometries_and_their_product_is_the_damped_factor(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    G = data.draw(factors(shape))
    check_register(encode(GramOperator(G, data.draw(st.sampled_from([1e-6, 0.1, 10.0]))), CPU))


NETWORKS = {
    "linear": lambda: torch.nn.Linear(4, 3),
    "mlp": lambda: torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)),
    "convolution": lambda: torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 2, 2)), torch.nn.Conv2d(1, 2, 2), torch.nn.Flatten(), torch.nn.Linear(2, 3)
    ),
}


def jacobian_factor(network: str, layer: int | None = None) -> TorchFactor:
    torch.manual_seed(0)
    model = NETWORKS[network]().double()
    inputs = torch.randn(6, 4, dtype=torch.float64)
    objective = Objective(model, torch.nn.CrossEntropyLoss(), inputs, torch.randint(3, (6,)))
    block = None if layer is None else list(objective.parameters.layers().values())[layer]
    return TorchFactor(GaussNewton(objective, objective.parameters.vector(), block), CPU)


@pytest.mark.parametrize("layer", [None, 0, -1])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_jacobian_of_a_network_has_a_register(network: str, layer: int | None) -> None:
    factor = jacobian_factor(network, layer)
    v, u = np.random.default_rng(1).standard_normal((factor.shape[1], 2)), np.eye(factor.shape[0])
    assert np.allclose(factor.rows() @ v, factor.matvec(v), rtol=0, atol=1e-13)
    assert np.allclose(factor.rows().T @ u, factor.rmatvec(u), rtol=0, atol=1e-13)
    check_register(encode(GramOperator(factor, 0.1), CPU))


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_norm_of_the_register_stays_one_over_a_thousand_queries(side: str) -> None:
    random = np.random.default_rng(2)
    G = random.standard_normal((30, 20))
    G[::7] = 0
    encoding = encode(GramOperator(G, 0.01), CPU)
    start = random.standard_normal((20 if side == "right" else 50, 2))
    start /= np.linalg.norm(start, axis=0)
    phases = random.uniform(-np.pi, np.pi, 1001)
    outcome = run_sequence(encoding, phases, start, CPU, side=side, mode="fused")
    assert outcome.queries == 1000
    assert np.allclose(np.linalg.norm(outcome.register(), axis=0), 1, rtol=0, atol=1e-12)


def same_solutions(fused: qn.Solution, subspace: qn.Solution) -> None:
    assert fused.solved, fused.message
    assert (fused.resources["mode"], subspace.resources["mode"]) == ("fused", "subspace")
    assert fused.queries == subspace.queries > 0
    assert np.linalg.norm(fused.x - subspace.x) <= 1e-10 * np.linalg.norm(subspace.x)
    for k, (one, two) in enumerate(zip(fused.history, subspace.history, strict=True)):
        # a second round starts from a residual, of which rounding is a larger part
        close = {"rel": 1e-10 if k == 0 else 1e-6}
        assert one["success_probability"] == pytest.approx(two["success_probability"], **close)
        assert one["relative_residual"] == pytest.approx(two["relative_residual"], abs=1e-10)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-9])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_any_right_hand_side_is_solved_alike(shape: tuple[int, int], columns: int, tolerance: float) -> None:
    random = np.random.default_rng(3)
    operator = qn.GramOperator(random.standard_normal(shape), 0.2)
    b = random.standard_normal((shape[1], columns)) * 10.0 ** np.arange(columns)
    b[:, 1:2] = 0
    solve = lambda mode: qn.solve(operator, b, solver="qsvt", mode=mode, tolerance=tolerance)  # noqa: E731
    fused = solve("fused")
    same_solutions(fused, solve("subspace"))
    assert fused.resources["parity"] == "even" and not fused.x[:, 1:2].any()
    assert fused.resources["register_size"] == (shape[0] + 1) * shape[1]


@pytest.mark.parametrize("tolerance", [1e-2, 1e-9])
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_preimage_is_solved_alike(shape: tuple[int, int], columns: int, tolerance: float) -> None:
    random = np.random.default_rng(4)
    operator = qn.GramOperator(random.standard_normal(shape), 0.2)
    r = random.standard_normal((sum(shape), columns)) * 10.0 ** np.arange(columns)
    r[:, 1:2] = 0
    g = damped(encode(operator, CPU)).T @ r
    system = LinearSystem(operator, g, qn.estimate_spectrum(operator), tolerance, preimage=r)
    fused, subspace = (make_solver("qsvt", mode=mode).solve(system, CPU) for mode in ("fused", "subspace"))
    same_solutions(fused, subspace)
    assert fused.resources["parity"] == "odd"


def test_later_rounds_succeed_nearly_as_often_as_the_first() -> None:
    """The preimage r - G~ x of a small residual keeps its part outside the range of G~: the flag rows alone do not."""
    random = np.random.default_rng(4)
    operator = qn.GramOperator(random.standard_normal((20, 8)), 0.2)
    r = 10 * random.standard_normal((28, 1))
    g = damped(encode(operator, CPU)).T @ r
    system = LinearSystem(operator, g, qn.estimate_spectrum(operator), 1e-9, preimage=r)
    solution = make_solver("qsvt").solve(system, CPU)
    probabilities = [p for entry in solution.history for p in entry["success_probability"]]
    assert solution.solved and len(probabilities) > 1 and min(probabilities) > 1e-2 * probabilities[0]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_is_solved_alike(network: str) -> None:
    operator = qn.GramOperator(jacobian_factor(network), 0.1)
    b = np.random.default_rng(5).standard_normal(operator.shape[0])
    fused, subspace = (qn.solve(operator, b, solver="qsvt", mode=mode) for mode in ("fused", "subspace"))
    same_solutions(fused, subspace)


def test_a_register_that_does_not_fit_is_refused_before_the_rows_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    factor: Any = jacobian_factor("mlp")
    monkeypatch.setattr(factor, "rows", lambda: pytest.fail("made"))
    operator = qn.GramOperator(factor, 0.1)
    (m, n), g = factor.shape, np.ones((factor.shape[1], 1))
    system = LinearSystem(operator, g, qn.estimate_spectrum(operator), 1e-2)
    monkeypatch.setattr(type(CPU), "available_bytes", lambda self: 40 * (m + 1) * n)
    with pytest.raises(qn.errors.NotEnoughMemoryError, match=r"mode: needs .* GiB.*mode='subspace' needs"):
        make_solver("qsvt", mode="fused").solve(system, CPU)
    assert make_solver("qsvt", mode="subspace").solve(system, CPU).solved
