"""Spectrum bounds: certified ones hold always, the others are exact where Lanczos sees everything."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from standins.cupy_standin import Transfers
from standins.rehearsal import rehearse

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.condition import condition
from qnewton_gpu.conditioning.spectrum import (
    block_power,
    block_power_relative_error,
    lanczos,
    lanczos_relative_error,
    semidefinite_bounds,
    smallest_eigenvalue,
)
from qnewton_gpu.errors import CombinationError, ParameterError, UnknownNameError
from qnewton_gpu.operators import GeneralMatrix, as_operator
from qnewton_gpu.operators.kronecker import KroneckerOperator

CPU = select_backend("cpu")


def rotated(values: np.ndarray, seed: int) -> np.ndarray:
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    H = (Q * values) @ Q.T
    return (H + H.T) / 2


@given(
    m=st.integers(1, 60), n=st.integers(1, 60), damping=st.floats(1e-8, 1e2), extra=st.sampled_from([0.0, 0.5]),
    decay=st.floats(0, 3), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_certified_bounds_of_a_gram_operator_hold(
    m: int, n: int, damping: float, extra: float, decay: float, seed: int
) -> None:
    G = np.random.default_rng(seed).standard_normal((m, n)) * np.arange(1.0, n + 1) ** -decay
    bounds = qn.estimate_spectrum(qn.GramOperator(G, damping), damping=extra, seed=seed % 7)
    values = np.linalg.eigvalsh(G.T @ G + (damping + extra) * np.eye(n))
    assert bounds.certified
    assert bounds.lower <= values[0] + 1e-13 * values[-1]
    assert bounds.upper >= values[-1] * (1 - 1e-14)
    assert bounds.matvecs <= 24


@pytest.mark.parametrize("n", [30, 150, 400])
def test_certified_upper_bounds_hold_over_many_starts_where_lanczos_has_not_converged(n: int) -> None:
    values = np.linspace(0, 1, n) ** 0.25  # a crowded top: the hard case of Lanczos
    G = np.diag(np.sqrt(values))
    H = qn.GramOperator(G, 1e-6)
    true = 1 + 1e-6
    for seed in range(60):
        bounds = qn.estimate_spectrum(H, seed=seed)
        assert true <= bounds.upper <= 1.25 * true


@given(n=st.integers(1, 100), seed=st.integers(0, 10**6), definite=st.booleans(), sparse=st.booleans())
def test_lanczos_is_exact_up_to_a_hundred_unknowns(n: int, seed: int, definite: bool, sparse: bool) -> None:
    random = np.random.default_rng(seed)
    values = 10 ** random.uniform(-2, 1, n) * (1 if definite else random.choice([-1, 1], n))
    H = rotated(values, seed)
    bounds = qn.estimate_spectrum(sp.csr_array(H) if sparse else H)
    assert bounds.lower == pytest.approx(np.abs(values).min(), rel=1e-8)
    assert bounds.upper == pytest.approx(np.abs(values).max(), rel=1e-8)
    assert bounds.kappa == bounds.upper / bounds.lower


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(5))
def test_above_a_hundred_the_safety_factor_keeps_a_mild_spectrum_inside(sign: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = 50.0 ** -random.random(300)
    values[::2] *= sign
    bounds = qn.estimate_spectrum(rotated(values, seed), seed=seed)
    assert not bounds.certified
    assert 0.7 * np.abs(values).min() <= bounds.lower <= np.abs(values).min()
    assert np.abs(values).max() <= bounds.upper <= 1.2 * np.abs(values).max()


def test_the_upper_bound_is_never_above_the_row_sums() -> None:
    H = np.diag(np.linspace(1, 2, 300))
    assert qn.estimate_spectrum(H).upper <= 2.0


@pytest.mark.parametrize("n", [5, 50, 100])
@pytest.mark.parametrize("zeros", [1, 3])
def test_a_zero_mode_gives_a_lower_bound_of_zero_and_the_smallest_nonzero(n: int, zeros: int) -> None:
    values = np.r_[np.zeros(zeros), np.linspace(0.25, 2, n - zeros)]
    bounds = qn.estimate_spectrum(rotated(values, n))
    assert bounds.lower == 0 and math.isinf(bounds.kappa)
    assert bounds.smallest_nonzero == pytest.approx(0.25, rel=1e-9)


@given(
    m=st.integers(1, 100), n=st.integers(1, 100), zeros=st.integers(0, 2), decades=st.floats(0, 11),
    seed=st.integers(0, 10**6), sparse=st.booleans(),
)  # fmt: skip
def test_singular_values_of_a_general_matrix_are_exact_up_to_a_hundred(
    m: int, n: int, zeros: int, decades: float, seed: int, sparse: bool
) -> None:
    random = np.random.default_rng(seed)
    values = 10 ** -random.uniform(0, decades, min(m, n))
    values[: min(zeros, len(values) - 1)] = 0
    U, V = (np.linalg.qr(random.standard_normal((k, k)))[0][:, : min(m, n)] for k in (m, n))
    A = (U * values) @ V.T
    operator = GeneralMatrix(sp.csr_array(A) if sparse else A, CPU)
    bounds = qn.estimate_spectrum(operator)
    rounding = 20 * max(m, n) * np.finfo(float).eps * values.max()
    assert bounds.upper == pytest.approx(values.max(), rel=1e-12, abs=rounding)
    assert bounds.lower == pytest.approx(values.min(), rel=1e-9, abs=rounding)
    assert bounds.lower <= np.linalg.svd(A, compute_uv=False).min() + rounding / 10
    assert bounds.certified == (bounds.lower > 0)
    if zeros and min(m, n) > zeros:
        assert bounds.lower == 0 and bounds.smallest_nonzero == pytest.approx(values[values > 0].min(), rel=1e-3)


@pytest.mark.parametrize("shape", [(300, 150), (150, 300), (200, 200)])
def test_bounds_of_a_large_general_matrix_are_uncertified_and_hold_for_a_mild_spectrum(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape[0])
    values = 30.0 ** -random.random(min(shape))
    U, V = (np.linalg.qr(random.standard_normal((k, k)))[0][:, : min(shape)] for k in shape)
    bounds = qn.estimate_spectrum((U * values) @ V.T)
    assert not bounds.certified and 0.7 * values.min() <= bounds.lower <= values.min()
    assert values.max() <= bounds.upper <= 1.2 * values.max()


@pytest.mark.parametrize("n", [3, 40, 50])
@pytest.mark.parametrize("hermitian", [True, False])
def test_a_complex_matrix_has_the_bounds_of_its_own_spectrum(n: int, hermitian: bool) -> None:
    random = np.random.default_rng(n)
    Q, P = (np.linalg.qr(random.standard_normal((n, n)) + 1j * random.standard_normal((n, n)))[0] for _ in range(2))
    values = np.linspace(0.01, 2, n) * (-1.0) ** np.arange(n)
    A = (Q * values) @ (Q if hermitian else P).conj().T
    bounds = qn.estimate_spectrum((A + A.conj().T) / 2 if hermitian else A)
    assert (bounds.lower, bounds.upper) == (pytest.approx(0.01, rel=1e-9), pytest.approx(2, rel=1e-9))
    assert bounds.certified and bounds.negative == hermitian


def test_bounds_of_a_kronecker_product_are_the_products() -> None:
    A, B = rotated(np.array([0.5, 1.0, 3.0]), 0), rotated(np.array([0.1, 2.0]), 1)
    bounds = qn.estimate_spectrum(KroneckerOperator([A, B], CPU))
    assert (bounds.lower, bounds.upper) == (pytest.approx(0.05, rel=1e-12), pytest.approx(6, rel=1e-12))
    assert bounds.certified and not bounds.negative
    singular = qn.estimate_spectrum(KroneckerOperator([A, np.diag([0.0, -2.0])], CPU))
    assert (singular.lower, singular.smallest_nonzero) == (0, pytest.approx(1, rel=1e-12)) and singular.negative
    assert not singular.certified
    assert qn.estimate_spectrum(KroneckerOperator([A, np.zeros((2, 2))], CPU)).smallest_nonzero is None


def test_the_zero_matrix_has_no_smallest_nonzero() -> None:
    bounds = qn.estimate_spectrum(np.zeros((4, 4)))
    assert (bounds.lower, bounds.upper, bounds.smallest_nonzero) == (0.0, 0.0, None)


def test_damping_is_added_before_the_bound() -> None:
    bounds = qn.estimate_spectrum(np.diag([-0.05, 0.2, 1.0]), damping=0.08)
    assert (bounds.lower, bounds.upper) == (pytest.approx(0.03, rel=1e-9), pytest.approx(1.08, rel=1e-9))


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_eigenvalue_is_bounded_from_below_on_random_matrices(seed: int) -> None:
    H = np.random.default_rng(seed).standard_normal((250, 250))
    H = (H + H.T) / 2
    true = np.linalg.eigvalsh(H)[0]
    found = smallest_eigenvalue(as_operator(H, CPU), CPU, seed)
    assert true - 0.01 * abs(true) <= found <= true + 1e-10 * abs(true)


def test_repeated_eigenvalues_close_the_krylov_space() -> None:
    ritz = lanczos(lambda v: np.where(np.arange(500)[:, None] < 250, 1.0, 3.0) * v, 500, 100, CPU, 0)
    assert ritz.complete and ritz.steps == 2
    assert ritz.values == pytest.approx([1.0, 3.0], rel=1e-12)


@pytest.mark.parametrize(("n", "steps"), [(10**3, 24), (10**6, 24), (10**3, 80)])
def test_the_error_of_lanczos_is_that_of_the_theorem(n: int, steps: int) -> None:
    e = lanczos_relative_error(n, steps)
    assert 1.648 * math.sqrt(n) * math.exp(-math.sqrt(e) * (2 * steps - 1)) == pytest.approx(1e-6, rel=1e-9)


def test_the_same_seed_gives_the_same_bounds() -> None:
    H = rotated(np.linspace(0.1, 3, 200), 0)
    assert qn.estimate_spectrum(H, seed=4) == qn.estimate_spectrum(H, seed=4)


def test_bad_input_is_refused() -> None:
    for damping in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="damping"):
            qn.estimate_spectrum(np.eye(2), damping=damping)
    with pytest.raises(CombinationError, match="damping"):
        qn.estimate_spectrum(np.triu(np.ones((3, 3))), damping=0.1)


def test_a_closed_krylov_space_is_certified_and_a_zero_mode_or_an_open_one_is_not() -> None:
    random = np.random.default_rng(0)
    Q = np.linalg.qr(random.standard_normal((60, 60)))[0]
    values = np.linspace(-1.0, 2.0, 60)
    bounds = qn.estimate_spectrum((Q * values) @ Q.T)
    assert bounds.certified and bounds.negative
    assert bounds.lower <= np.abs(values).min() <= bounds.lower * (1 + 1e-10)
    assert bounds.upper >= 2.0 >= bounds.upper * (1 - 1e-10)
    values[30] = 0.0
    singular = qn.estimate_spectrum((Q * values) @ Q.T)
    assert singular.lower == 0 and not singular.certified
    assert not qn.estimate_spectrum(np.diag(np.linspace(1.0, 2.0, 300))).certified


def test_a_positive_spectrum_is_never_called_negative() -> None:
    assert not qn.estimate_spectrum(np.diag([1.0, 2.0, 3.0])).negative
    assert not qn.estimate_spectrum(np.ones((2, 2))).negative
    assert qn.estimate_spectrum(-np.eye(3)).negative


def diagonal(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda v: values[:, None] * v


@given(
    m=st.integers(1, 60), n=st.integers(1, 60), damping=st.floats(1e-8, 1e2), decay=st.floats(0, 3),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_power_gives_certified_bounds_of_a_gram_operator(
    m: int, n: int, damping: float, decay: float, seed: int
) -> None:
    G = np.random.default_rng(seed).standard_normal((m, n)) * np.arange(1.0, n + 1) ** -decay
    bounds = qn.estimate_spectrum(qn.GramOperator(G, damping, "cpu"), seed=seed % 7, method="power", backend="cpu")
    true = np.linalg.eigvalsh(G.T @ G + damping * np.eye(n))[-1]
    assert bounds.certified and bounds.lower == damping
    assert true * (1 - 1e-14) <= bounds.upper <= true / (1 - block_power_relative_error(n, 8, 16)) * (1 + 1e-14)
    assert bounds.matvecs == 16 * min(n, 8)
    assert bounds.method == "known damping, block power iteration lambda_max"


SPECTRA = {
    "crowded top": np.linspace(0, 1, 400) ** 0.25,
    "clustered": np.r_[np.full(380, 0.1), np.linspace(0.9, 1, 20)],
    "all equal": np.full(400, 3.0),
    "steep": 10.0 ** -np.linspace(0, 30, 400),
    "rank one": np.r_[np.zeros(399), 7.0],
    "below the smallest normal number of its powers": np.linspace(0, 1e-60, 400),
    "above the largest number of its powers": np.linspace(0, 1e60, 400),
    "N < k": np.array([1.0, 5.0, 5.0]),
    "N = k + 1": np.linspace(0, 2, 9),
    "N = 1": np.array([4.0]),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("seed", range(5))
def test_the_largest_ritz_value_is_within_its_error_of_the_largest_eigenvalue(name: str, seed: int) -> None:
    values = SPECTRA[name]
    theta = block_power(diagonal(values), len(values), 8, 16, CPU, seed)
    assert theta <= values.max() * (1 + 1e-13)
    assert values.max() <= theta / (1 - block_power_relative_error(len(values), 8, 16))


def test_the_zero_matrix_has_the_bound_zero() -> None:
    zero = as_operator(np.zeros((50, 50)), CPU)
    assert block_power(zero.matvec, 50, 8, 16, CPU, 0) == 0
    assert semidefinite_bounds(zero, 0.0, 1.0, CPU, method="power").upper == 0


@pytest.mark.parametrize("name", ["crowded top", "clustered", "steep"])
def test_one_orthonormalisation_at_the_end_gives_what_one_after_every_product_gives(name: str) -> None:
    values = SPECTRA[name]
    product = diagonal(values)
    v = np.random.default_rng(3).standard_normal((len(values), 8))
    for _ in range(15):
        v = np.linalg.qr(product(v))[0]
    expected = np.linalg.eigvalsh(v.T @ product(v))[-1]
    assert block_power(product, len(values), 8, 16, CPU, 3) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "columns", "iterations"), [(60, 1, 6), (60, 3, 5), (400, 8, 4), (6, 5, 2), (60, 2, 1)])
def test_the_failure_probability_of_power_is_attained_by_the_hardest_spectrum_and_not_exceeded(
    n: int, columns: int, iterations: int
) -> None:
    probability, runs = 0.2, 400
    error = block_power_relative_error(n, columns, iterations, probability)
    m = 2 * iterations - 1
    values = np.full(n, (1 - error) * (m - 1) / m)
    values[0] = 1.0
    thetas = [block_power(diagonal(values), n, columns, iterations, CPU, seed) for seed in range(runs)]
    failures = sum(theta < 1 - error for theta in thetas)
    assert abs(failures - probability * runs) <= 4 * math.sqrt(runs * probability * (1 - probability))


@pytest.mark.parametrize("columns", [1, 4, 8])
def test_columns_together_fail_less_often_than_the_theorem_says_of_single_runs(columns: int) -> None:
    for n in (1210, 10**6):
        # 0.824 sqrt(N) (1 - e)^(q - 1/2) for each of k runs (Kuczynski and Wozniakowski)
        of_single_runs = 1 - (1e-6 ** (1 / columns) / (0.824 * math.sqrt(n))) ** (1 / 15.5)
        e = block_power_relative_error(n, columns, 16)
        assert (0.9 if columns == 1 else 0.5) * of_single_runs < e < of_single_runs


def test_the_error_of_power_is_small_enough_to_be_used() -> None:
    assert block_power_relative_error(1210, 8, 16) < 0.19
    assert block_power_relative_error(10**6, 8, 16) < 0.34
    assert block_power_relative_error(10**6, 1, 1) == 1.0  # nothing is known: the norm bound stays
    H = as_operator(np.diag(np.linspace(0.1, 1, 300)), CPU)
    assert semidefinite_bounds(H, 0.1, 1.05, CPU, method="power").upper <= 1.05


def test_the_same_seed_gives_the_same_power_iteration_and_another_seed_another() -> None:
    first, again, other = (block_power(diagonal(SPECTRA["crowded top"]), 400, 8, 16, CPU, seed) for seed in (4, 4, 5))
    assert first == again != other


def test_auto_is_lanczos_where_arrays_are_on_the_host() -> None:
    H = qn.GramOperator(np.random.default_rng(0).standard_normal((30, 200)), 0.1, "cpu")
    assert qn.estimate_spectrum(H, backend="cpu") == qn.estimate_spectrum(H, backend="cpu", method="lanczos")
    assert qn.estimate_spectrum(H, backend="cpu").method == "known damping, Lanczos lambda_max"


def test_power_is_refused_where_it_cannot_give_both_ends() -> None:
    with pytest.raises(CombinationError, match=r"method: .*lambda_max alone"):
        qn.estimate_spectrum(np.eye(3), method="power")
    assert qn.estimate_spectrum(np.eye(3), method="lanczos") == qn.estimate_spectrum(np.eye(3))
    for call in (
        lambda: qn.estimate_spectrum(np.eye(3), method="arnoldi"),
        lambda: semidefinite_bounds(as_operator(np.eye(3), CPU), 1.0, 1.0, CPU, method="arnoldi"),
    ):
        with pytest.raises(UnknownNameError, match="auto, lanczos, power"):
            call()


def test_rehearsal_of_power_brings_nothing_to_the_host_before_its_end() -> None:
    G = np.random.default_rng(0).standard_normal((40, 300))
    with rehearse() as backend:
        H = qn.GramOperator(G, 0.5, backend)
        H.factor.frobenius_squared  # noqa: B018  read beforehand: it is one scalar of the operator's own
        before, seen = Transfers.to_host, []

        def product(v: object) -> object:
            seen.append(Transfers.to_host - before)
            return H.matvec(v)

        theta = block_power(product, 300, 8, 16, backend, 1)
        assert seen == [0] * 16 and Transfers.to_host - before == 8 * 8 * 8
        assert theta == pytest.approx(block_power(lambda v: G.T @ (G @ v) + 0.5 * v, 300, 8, 16, CPU, 1), rel=1e-12)


def test_rehearsal_of_the_gpu_backend_bounds_by_power_unless_lanczos_is_asked_for() -> None:
    G = np.random.default_rng(0).standard_normal((40, 300))
    true = np.linalg.norm(G, 2) ** 2 + 0.5
    with rehearse():
        for factor in (G, sp.csr_array(G)):
            before = Transfers.to_host
            H = qn.GramOperator(factor, 0.5, "gpu")
            bounds = qn.estimate_spectrum(H, backend="gpu", damping=0.25)
            assert bounds.certified and bounds.lower == 0.75 and bounds.method.startswith("known damping, block power")
            assert true + 0.25 <= bounds.upper <= 1.2 * (true + 0.25)
            assert Transfers.to_host - before <= 8 * (8 * 8 + 2)
        lanczos_bounds = qn.estimate_spectrum(H, backend="gpu", method="lanczos")
        assert lanczos_bounds.method == "known damping, Lanczos lambda_max" and lanczos_bounds.upper >= true
        conditioned = condition(G.T @ G, damping=0.5, semidefinite=True, backend="gpu")
        assert conditioned.bounds.method.startswith("known damping, block power") and conditioned.bounds.upper >= true
        with pytest.raises(CombinationError, match="method"):
            qn.estimate_spectrum(np.eye(3), backend="gpu", method="power")
