"""Every number of the small cases that were computed independently: walk, gram, kernel reflection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.gram import ReducedGram
from qnewton_gpu.operators import GramOperator, as_operator
from qnewton_gpu.polynomials import inverse_polynomial, kernel_reflection_polynomial, phase_factors
from qnewton_gpu.simulation import run_sequence

CPU = select_backend("cpu")


def close(value: Any, expected: Any) -> bool:
    return bool(np.allclose(value, expected, rtol=1e-9, atol=1e-12))


def check_solution(case: dict[str, Any], H: np.ndarray, b: np.ndarray, x: np.ndarray) -> None:
    exact = np.linalg.solve(H, b)
    assert close(x, case["x"])
    # an error of 1e-3 with nine digits is 1e-12 of x, so rounding of the case itself is allowed for
    residual = np.linalg.norm(b - H @ x) / np.linalg.norm(b)
    assert residual == pytest.approx(case["relative_residual"], rel=1e-9, abs=1e-12)
    error = np.linalg.norm(x - exact) / np.linalg.norm(exact)
    assert error == pytest.approx(case["relative_error"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mode", ["subspace", "fused"])
@pytest.mark.parametrize("index", range(3))
def test_walk(oracles: dict[str, Any], index: int, mode: str) -> None:
    case = oracles["walk"][index]
    H, b = np.array(case["H"]), np.array(case["b"])
    encoding = encode(as_operator(H, CPU), CPU, "walk")
    assert close(encoding.alpha, case["alpha"])
    kappa = encoding.alpha / np.abs(np.linalg.eigvalsh(H)).min()
    assert close(kappa, case["kappa_eff"])
    polynomial = inverse_polynomial(max(kappa, 1.0), case["epsilon"])
    assert polynomial.degree == case["degree"] and close(polynomial.sup_norm, case["sup_norm"])
    phases = phase_factors(polynomial, scale=oracles["scale"])
    norm = np.linalg.norm(b)
    outcome = run_sequence(encoding, phases.reflection, (b / norm)[:, None], CPU, mode=mode)
    assert close(outcome.success_probability[0], case["success_probability"])
    assert close(outcome.register_norm[0], case["register_norm"])
    x = norm * polynomial.sup_norm / (oracles["scale"] * encoding.alpha) * outcome.amplitudes[:, 0]
    check_solution(case, H, b, x)


@pytest.mark.parametrize("how", ["subspace", "fused", "reduced"])
@pytest.mark.parametrize("index", range(2))
def test_gram(oracles: dict[str, Any], index: int, how: str) -> None:
    case = oracles["gram"][index]
    G, r, g = (np.array(case[key]) for key in ("G", "r_tilde", "g"))
    operator = GramOperator(G, case["delta"])
    encoding = encode(operator, CPU)
    n = G.shape[1]
    assert close(np.vstack([G, np.sqrt(case["delta"]) * np.eye(n)]).T @ r, g)
    assert close(encoding.alpha, case["alpha"]) and close(encoding.kappa, case["kappa_eff"])
    odd = case["form"] == "pseudo_inverse"
    polynomial = inverse_polynomial(encoding.kappa, case["epsilon"], "odd" if odd else "even")
    assert polynomial.degree == case["degree"] and close(polynomial.sup_norm, case["sup_norm"])
    phases = phase_factors(polynomial, scale=oracles["scale"])
    start, side = (r, "left") if odd else (g, "right")
    norm = np.linalg.norm(start)
    start = (start / norm)[:, None]
    circuit = encoding
    if how == "reduced":
        circuit = ReducedGram(encoding, g[:, None] if odd else np.zeros((n, 1)), norm if odd else 0.0)
        start = np.vstack([[[1.0]], np.zeros((n, 1))]) / norm if odd else start
    outcome = run_sequence(
        circuit, phases.reflection, start, CPU, side=side, mode="fused" if how == "fused" else "subspace"
    )
    assert close(outcome.success_probability[0], case["success_probability"])
    assert close(outcome.register_norm[0], case["register_norm"])
    gain = polynomial.sup_norm / (oracles["scale"] * encoding.alpha ** (1 if odd else 2))
    check_solution(case, operator.dense(), g, norm * gain * outcome.amplitudes[:, 0])


class KernelReflection:
    """Q H'/alpha with H' = diag(H, 1/t) and Q = I - b'b'^t, b' = (b, 1)/sqrt 2, on the walk of H' (arXiv 2406.12086).

    The right projector is T T^t and the left one T Q T^t: a two-sided encoding, run by the same loop as gram.
    """

    name, symmetric = "kernel reflection", False

    def __init__(self, H: np.ndarray, b: np.ndarray, entry: float) -> None:
        n = len(H)
        extended = np.zeros((n + 1, n + 1))
        extended[:n, :n], extended[n, n] = H, entry
        self.operator = as_operator(extended, CPU)
        self.walk = encode(self.operator, CPU, "walk")
        self.alpha, self.register_size = self.walk.alpha, self.walk.register_size
        self.direction = np.append(b, 1.0)[:, None] / np.sqrt(2)

    def _project(self, v: np.ndarray) -> np.ndarray:
        return v - self.direction * (self.direction.T @ v)

    def matvec(self, v: np.ndarray) -> np.ndarray:
        return self._project(self.walk.matvec(v))

    def rmatvec(self, v: np.ndarray) -> np.ndarray:
        return self.walk.matvec(self._project(v))

    def inner(self, x: np.ndarray, y: np.ndarray, side: str) -> np.ndarray:
        return (x.conj() * y).sum(axis=0)

    def lift(self, v: np.ndarray, side: str) -> np.ndarray:
        return self.walk.lift(v if side == "right" else self._project(v), side)

    def lower(self, psi: np.ndarray, side: str) -> np.ndarray:
        v = self.walk.lower(psi, side)
        return v if side == "right" else self._project(v)

    def reflect(self, psi: np.ndarray) -> np.ndarray:
        return self.walk.reflect(psi)


@pytest.mark.parametrize("mode", ["subspace", "fused"])
@pytest.mark.parametrize("number", [0, 1], ids=["norm known", "norm off by two"])
def test_kernel_reflection_cases(oracles: dict[str, Any], number: int, mode: str) -> None:
    case, system = oracles["kernel_reflection"][number], oracles["walk"][0]
    H = np.array(system["H"])
    b = np.array(system["b"]) / np.linalg.norm(system["b"])
    exact = np.linalg.solve(H, b)
    t = case["ratio_t_over_norm"] * np.linalg.norm(exact)
    assert 1 / t == pytest.approx(case["entry"], rel=1e-9)
    encoding = KernelReflection(H, b, 1 / t)
    smallest = min(np.abs(np.linalg.eigvalsh(H)).min(), 1 / t)
    polynomial = kernel_reflection_polynomial(encoding.alpha / smallest, case["epsilon"] / np.sqrt(2))
    phases = phase_factors(polynomial)  # these cases are at 0.98
    start = np.zeros((len(H) + 1, 1))
    start[-1] = 1.0
    outcome = run_sequence(encoding, phases.reflection, start, CPU, mode=mode)
    out = outcome.amplitudes[:, 0]
    q = (1 + out[-1] * polynomial.sup_norm / phases.scale) / 2
    direction = out[:-1] / np.linalg.norm(out[:-1]) - exact / np.linalg.norm(exact)
    assert outcome.queries == case["queries"]
    # success is to end outside of the start, the last coordinate
    assert np.linalg.norm(out[:-1]) ** 2 == pytest.approx(case["success_probability"], abs=1e-9)
    assert np.linalg.norm(direction) == pytest.approx(case["direction_error"], abs=1e-9)
    assert t * np.sqrt((1 - q) / q) == pytest.approx(case["norm_estimate"], abs=1e-9)
    assert outcome.register_norm[0] == pytest.approx(1.0, abs=1e-12)
