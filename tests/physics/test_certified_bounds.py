"""A certified bound of kappa is never below the truth: 200 random operators, and the Hessians of a real network.

`pytest -s tests/physics/test_certified_bounds.py` prints bound/truth of every estimator.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import qnewton_gpu as qn
from qnewton_gpu.conditioning import KappaEstimate, kappa_estimates
from qnewton_gpu.conditioning.kappa import ESTIMATORS
from qnewton_gpu.curvature import Objective, make_curvature
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.data import load_data
from qnewton_gpu.operators.kronecker import KroneckerOperator
from qnewton_gpu.systems import TorchFactor

CPU = qn.select_backend("cpu")
PROVING = ("lanczos_known_damping", "power_known_damping", "frobenius", "lanczos_both_ends", "norm_determinant")
KNOWN_DAMPING = ("lanczos_known_damping", "power_known_damping")
EACH = 20


@dataclass
class Case:
    """An operator, what is known of it, and its true kappa."""

    kind: str
    operator: Any
    truth: float
    known: dict[str, Any] = field(default_factory=dict)


def rotated(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    Q = np.linalg.qr(random.standard_normal((len(values), len(values))))[0]
    H = (Q * values) @ Q.T
    return (H + H.T) / 2


def spread(kappa: float, n: int, random: np.random.Generator) -> np.ndarray:
    """n magnitudes from 1 to kappa, both attained."""
    return kappa ** np.r_[0.0, random.random(n - 2), 1.0]


def kappa_of(H: Any) -> float:
    magnitudes = np.abs(np.linalg.eigvalsh(H))
    return float(magnitudes.max() / magnitudes.min())


def dense(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    H = rotated(spread(kappa, n, random), random)
    return H, kappa_of(H), {}


def sparse(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    graph = sp.random_array((n, n), density=4 / n, rng=random)
    graph = graph + graph.T
    laplacian = sp.diags_array(graph.sum(axis=1)) - graph
    H = (laplacian / 8 + sp.eye_array(n) / kappa).tocsr()
    return H, kappa_of(H.toarray()), {}


def gram(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    """Singular but for its damping, as the Gauss-Newton matrix of a network is."""
    G = random.standard_normal((max(n // 3, 1), n)) * np.arange(1.0, n + 1) ** -random.uniform(0, 1)
    largest = np.linalg.norm(G, 2) ** 2
    damping = largest / max(kappa - 1, 1e-2)
    return qn.GramOperator(G, damping, CPU), 1 + largest / damping, {}


def full_rank_gram(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    G = random.standard_normal((3 * n, n)) * np.sqrt(spread(kappa, n, random))
    values = np.linalg.svd(G, compute_uv=False) ** 2
    damping = float(values[0] / max(kappa - 1, 1e-2))
    return qn.GramOperator(G, damping, CPU), float((values[0] + damping) / (values[-1] + damping)), {}


def damped(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    """Explicit, semidefinite, and damped on the way in."""
    H = rotated(np.r_[np.zeros(n // 4), spread(1e3, n - n // 4, random) / 1e3], random)
    damping = 1 / max(kappa - 1, 1e-2)
    return H, kappa_of(H + damping * np.eye(n)), {"damping": damping, "semidefinite": True}


def indefinite(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    H = rotated(spread(kappa, n, random) * random.choice([-1, 1], n), random)
    return H, kappa_of(H), {}


def clustered(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    """A few clusters of a width between rounding and visible, the smallest a single eigenvalue at times."""
    centres = np.r_[1.0, kappa ** random.random(3), kappa]
    values = centres[np.r_[0 : len(centres), random.integers(random.integers(0, 2), len(centres), n - len(centres))]]
    H = rotated(values * (1 + 10 ** random.uniform(-15, -1) * random.random(n)), random)
    return H, kappa_of(H), {}


def multiple(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    """Exact multiplicities, where a Krylov space closes; diagonal, so that no rotation breaks them."""
    values = np.r_[1.0, kappa, random.choice(np.r_[1.0, np.sqrt(kappa), kappa], n - 2)]
    H = np.diag(values * random.choice([-1, 1], n) if random.random() < 0.3 else values)
    return H, kappa, {}


def adversarial(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    """Spectra that are hard for Krylov spaces: nodes of Chebyshev, a crowded end, one eigenvalue alone."""
    x = (np.arange(n) + 0.5) / n
    choices: list[Callable[[], np.ndarray]] = [
        lambda: (1 + np.cos(np.pi * x)) / 2,
        lambda: x**0.25,
        lambda: x**4,
        lambda: np.r_[np.full(n - 1, 0.5), 1.0],
        lambda: np.r_[np.full(n - 1, 1.0), 0.0],
    ]
    shape = choices[random.integers(len(choices))]()
    shape = (shape - shape.min()) / (shape.max() - shape.min())
    H = rotated(1 / kappa + (1 - 1 / kappa) * shape, random)
    return H, kappa_of(H), {}


def kronecker(kappa: float, n: int, random: np.random.Generator) -> tuple[Any, float, dict[str, Any]]:
    factors = [rotated(spread(math.sqrt(kappa), int(size), random), random) for size in random.integers(5, 15, 2)]
    return KroneckerOperator(factors, CPU), math.prod(kappa_of(factor) for factor in factors), {}


KINDS = (dense, sparse, gram, full_rank_gram, damped, indefinite, clustered, multiple, adversarial, kronecker)


def random_cases() -> Iterator[Case]:
    """200 operators, N = 30 ... 250, kappa 1 ... 1e6."""
    for kind in KINDS:
        for index in range(EACH):
            random = np.random.default_rng([index, KINDS.index(kind)])
            kappa = float(10 ** random.uniform(0, 6)) if index else 1.0
            operator, truth, known = kind(kappa, int(random.integers(30, 250)), random)
            yield Case(kind.__name__, operator, truth, known)


def network_cases(steps: tuple[int, ...]) -> Iterator[Case]:
    """Gauss-Newton, Fisher and Hessian matrices of 64-16-10 on digits while it is trained, and its layers' blocks."""
    data = load_data("digits")
    inputs, targets = data.train_inputs, data.train_targets
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    optimizer = qn.QNewton(model, torch.nn.CrossEntropyLoss(), scheduler=qn.Scheduler(solver="cholesky", backend="cpu"))
    for step in range(max(steps) + 1):
        if step in steps:
            objective = Objective(model, torch.nn.CrossEntropyLoss(), inputs, targets)
            theta, damping = objective.parameters.vector(), optimizer.param_groups[0]["damping"]
            whole = slice(0, theta.numel())
            for name, block in {"network": whole, **objective.parameters.layers()}.items():
                factor = GaussNewton(objective, theta, block)
                largest = np.linalg.eigvalsh(factor.dense().numpy())[-1]
                case = f"GGN, {name}, step {step}"
                yield Case(case, qn.GramOperator(TorchFactor(factor, CPU), damping, CPU), 1 + largest / damping)
            for curvature, semidefinite in (("fisher", True), ("hessian", False)):
                H = make_curvature(curvature, objective, theta).dense().detach().numpy()
                known = {"damping": damping, "semidefinite": semidefinite}
                truth = kappa_of(H + damping * np.eye(len(H)))
                yield Case(f"{curvature}, step {step}", H, truth, known)
        optimizer.step(inputs, targets)


def estimates(cases: Iterator[Case], methods: tuple[str, ...]) -> Iterator[tuple[Case, KappaEstimate]]:
    for case in cases:
        known = isinstance(case.operator, qn.GramOperator) or case.known.get("semidefinite")
        applying = [name for name in methods if known or name in ("lanczos_both_ends", "lobpcg", "norm_determinant")]
        for found in kappa_estimates(case.operator, methods=applying, backend="cpu", **case.known):
            yield case, found


def check(cases: Iterator[Case], methods: tuple[str, ...] = PROVING) -> dict[str, list[float]]:
    """Every certified estimate is at least the truth; returns bound/truth by estimator, and prints it."""
    ratios: dict[str, list[float]] = defaultdict(list)
    all_of: dict[str, int] = defaultdict(int)
    for case, found in estimates(cases, methods):
        all_of[found.method] += 1
        assert found.failure_probability <= 1e-6
        if found.method in KNOWN_DAMPING:
            assert found.certified and found.matvecs <= 40, case.kind
        if found.certified:
            assert found.kappa >= case.truth, (case.kind, found)
            assert found.errs in ("above", "exact")
            ratios[found.method].append(found.kappa / case.truth)
    print(f"\n{'bound/truth':24s}{'certified':>12s}{'smallest - 1':>14s}{'median':>10s}{'largest':>12s}")
    for name, values in ratios.items():
        counted = f"{len(values)} of {all_of[name]}"
        print(f"{name:24s}{counted:>12s}{min(values) - 1:14.1e}{np.median(values):10.4f}{max(values):12.4g}")
    return ratios


def test_a_certified_bound_is_never_below_the_truth_on_two_hundred_random_operators() -> None:
    cases = list(random_cases())
    assert len(cases) == 200
    truths = np.array([case.truth for case in cases])
    assert truths.min() < 1.1 and truths.max() > 5e5 and all(truths >= 1 - 1e-12)
    ratios = check(iter(cases))
    for name in KNOWN_DAMPING:
        assert len(ratios[name]) == 3 * EACH and np.median(ratios[name]) <= 2
    assert len(ratios["lanczos_both_ends"]) > 60  # a proof that is seldom given proves little


def test_bounds_of_the_front_door_are_never_below_the_truth_either() -> None:
    """estimate_spectrum on the same operators, and on general ones, by their singular values."""
    certified = 0
    for case in random_cases():
        bounds = qn.estimate_spectrum(case.operator, damping=case.known.get("damping", 0.0), backend="cpu")
        certified += bounds.certified
        assert not bounds.certified or bounds.kappa >= case.truth, case.kind
    assert certified > 120
    for index in range(40):
        random = np.random.default_rng(index)
        m, n = (int(size) for size in random.integers(30, 200, 2))
        values = spread(float(10 ** random.uniform(0, 6)), min(m, n), random)
        U, V = (np.linalg.qr(random.standard_normal((k, k)))[0][:, : min(m, n)] for k in (m, n))
        A = (U * values) @ V.T
        bounds = qn.estimate_spectrum(A, backend="cpu")
        exact = np.linalg.svd(A, compute_uv=False)
        assert not bounds.certified or (bounds.lower <= exact[-1] and bounds.upper >= exact[0])


def test_a_certified_bound_is_never_below_the_truth_on_the_hessians_of_a_network() -> None:
    ratios = check(network_cases((3,)))
    for name in KNOWN_DAMPING:
        assert len(ratios[name]) == 4 and np.median(ratios[name]) <= 2
    assert np.median(ratios["lanczos_known_damping"]) <= 1.1


@pytest.mark.slow
def test_a_certified_bound_is_never_below_the_truth_all_along_a_training() -> None:
    ratios = check(network_cases(tuple(range(9))), tuple(ESTIMATORS))
    for name in KNOWN_DAMPING:
        assert np.median(ratios[name]) <= 2


@pytest.mark.parametrize("method", KNOWN_DAMPING)
def test_a_bound_of_known_damping_holds_for_every_seed(method: str) -> None:
    """One hard operator, many starts: the failure probability is over these."""
    values = np.linspace(0, 1, 200) ** 0.25
    H = qn.GramOperator(np.diag(np.sqrt(values)), 1e-3, CPU)
    found = [kappa_estimates(H, methods=[method], seed=seed, backend="cpu")[0].kappa for seed in range(60)]
    assert min(found) >= 1001 and max(found) <= 1500
