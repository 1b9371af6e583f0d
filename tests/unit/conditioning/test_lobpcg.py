"""LOBPCG against SciPy's and against dense eigenvalues."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from standins.rehearsal import rehearse

from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.lanczos import start_generator
from qnewton_gpu.conditioning.lobpcg import lobpcg

CPU = select_backend("cpu")


def laplacian(n: int) -> sp.csr_array:
    return sp.diags_array([-np.ones(n - 1), np.full(n, 2.0), -np.ones(n - 1)], offsets=[-1, 0, 1], format="csr")


def rotated(values: np.ndarray, seed: int = 0) -> np.ndarray:
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))[0]
    H = (Q * values) @ Q.T
    return (H + H.T) / 2


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_scipy_finds_in_about_as_many_iterations(seed: int) -> None:
    H, random = laplacian(200), start_generator(seed)
    ours = lobpcg(lambda v: H @ v, 200, CPU, tolerance=1e-6, iterations=400, seed=seed)
    start = random.standard_normal((200, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # not all of its columns converge
        expected, _, history = spla.lobpcg(
            H, start, largest=False, tol=1e-6 * ours.values[0], maxiter=400, retResidualNormsHistory=True
        )
    smallest = min(range(4), key=lambda column: expected[column])
    needed = next(k for k, norms in enumerate(history) if norms[smallest] <= 1e-6 * ours.values[0])
    assert ours.converged and ours.values[0] == pytest.approx(min(expected), rel=1e-9)
    assert ours.matvecs <= 4 * 1.3 * needed


@pytest.mark.parametrize("values", [
    np.r_[1e-6, np.linspace(1, 2, 149)], np.repeat([0.1, 1.0, 2.0], 50), np.r_[-3.0, -1.0, np.linspace(0, 5, 148)],
    np.full(150, 2.0), np.linspace(1, 2, 12), np.linspace(1, 2, 13), np.array([3.0]),
])  # fmt: skip
def test_the_smallest_values_and_their_residuals(values: np.ndarray) -> None:
    H = rotated(values)
    found = lobpcg(lambda v: H @ v, len(values), CPU, tolerance=1e-5, noise=1e-12)
    exact = np.sort(values)[: len(found.values)]
    assert found.converged
    assert (found.values >= exact - 1e-13).all()  # Rayleigh-Ritz from above
    assert found.values[0] - found.residuals[0] <= exact[0] + 1e-13
    assert found.values[0] == pytest.approx(exact[0], rel=1e-8, abs=1e-12)


def test_a_preconditioner_saves_products() -> None:
    weights = np.geomspace(1, 1e4, 300)
    H = laplacian(300) * 0.1 + sp.diags_array(weights)
    plain = lobpcg(lambda v: H @ v, 300, CPU)
    preconditioned = lobpcg(lambda v: H @ v, 300, CPU, precondition=lambda v: v / H.diagonal()[:, None])
    assert preconditioned.converged and preconditioned.matvecs < plain.matvecs / 3
    assert preconditioned.values[0] == pytest.approx(np.linalg.eigvalsh(H.toarray())[0], rel=1e-3)


def test_products_are_counted_and_bounded() -> None:
    H, columns = rotated(np.geomspace(1e-8, 1, 200)), []

    def product(v: np.ndarray) -> np.ndarray:
        columns.append(v.shape[1])
        return H @ v

    found = lobpcg(product, 200, CPU, columns=3, iterations=7, tolerance=1e-12)
    assert not found.converged and found.matvecs == sum(columns) == 3 * 7


def test_rehearsal_on_the_gpu_backend_gives_the_same() -> None:
    H = rotated(np.r_[0.01, np.linspace(0.5, 2, 99)])
    expected = lobpcg(lambda v: H @ v, 100, CPU)
    with rehearse() as backend:
        on_device = backend.asarray(H)
        found = lobpcg(lambda v: on_device @ v, 100, backend)
    assert found.values == pytest.approx(expected.values, rel=1e-9) and found.matvecs == expected.matvecs
