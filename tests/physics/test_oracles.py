"""Every number of the small cases that were computed independently: walk and gram."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.gram import ReducedGram
from qnewton_gpu.operators import GramOperator, as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import MODES

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


@pytest.mark.parametrize("mode", MODES)
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
    outcome = MODES[mode](encoding, phases.reflection, (b / norm)[:, None], CPU, "right")
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
    outcome = MODES["fused" if how == "fused" else "subspace"](circuit, phases.reflection, start, CPU, side)
    assert close(outcome.success_probability[0], case["success_probability"])
    assert close(outcome.register_norm[0], case["register_norm"])
    gain = polynomial.sup_norm / (oracles["scale"] * encoding.alpha ** (1 if odd else 2))
    check_solution(case, operator.dense(), g, norm * gain * outcome.amplitudes[:, 0])
