"""Spectrum bounds: certified ones hold always, the others are exact where Lanczos sees everything."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from standins.cupy_standin import Transfers
from standins.rehearsal import rehearse

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.bounds import FP64_EPSILON
from qnewton_gpu.conditioning.condition import condition
from qnewton_gpu.conditioning.spectrum import semidefinite_bounds, smallest_eigenvalue
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
def test_above_a_hundred_a_mild_spectrum_stays_inside(sign: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = 50.0 ** -random.random(300)
    values[::2] *= sign
    bounds = qn.estimate_spectrum(rotated(values, seed), seed=seed)
    assert not (sign < 0 and bounds.certified)
    assert (bounds.errs, bounds.failure_probability) == (("above", 1e-6) if bounds.certified else ("either", 0.0))
    assert 0.7 * np.abs(values).min() <= bounds.lower <= (1.0 if bounds.certified else 1.02) * np.abs(values).min()
    assert np.abs(values).max() <= bounds.upper <= 1.2 * np.abs(values).max()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_definite_matrix_is_bounded_as_its_negative_is(sign: int) -> None:
    bounds = qn.estimate_spectrum(sign * rotated(np.linspace(1, 30, 200), 0))
    assert bounds.certified and bounds.negative == (sign < 0)
    assert 0.8 <= bounds.lower <= 1 and 30 <= bounds.upper <= 31


def test_the_small_end_of_a_well_conditioned_indefinite_matrix_is_certified() -> None:
    values = np.linspace(1, 3, 250) * (-1.0) ** np.arange(250)
    bounds = qn.estimate_spectrum(rotated(values, 0))
    assert bounds.certified and bounds.negative and bounds.failure_probability == 1e-6 and bounds.errs == "above"
    assert 0.9 <= bounds.lower <= 1 and 3 <= bounds.upper <= 3.1
    assert bounds.matvecs == 300


def test_bidiagonalisation_resolves_what_the_square_of_an_indefinite_matrix_loses() -> None:
    """1e-9 of the norm: its square is below rounding."""
    values = np.r_[np.linspace(-1, -0.5, 120), np.linspace(0.5, 1, 120), 1e-9]
    bounds = qn.estimate_spectrum(rotated(values, 0))
    assert bounds.certified and bounds.lower == pytest.approx(1e-9, rel=1e-2) and bounds.lower <= 1e-9


def test_the_upper_bound_is_never_above_the_row_sums() -> None:
    H = np.diag(np.linspace(1, 2, 300))
    assert qn.estimate_spectrum(H).upper <= 2.0 * (1 + 8 * 300 * FP64_EPSILON)


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
    large = rotated(np.linspace(1, 3, 150), 2)
    assert bounds.errs == "exact" and bounds.failure_probability == 0
    mixed, both = (qn.estimate_spectrum(KroneckerOperator([first, large], CPU)) for first in (A, large))
    assert mixed.errs == both.errs == "above" and mixed.certified and both.certified
    assert (mixed.failure_probability, both.failure_probability) == (1e-6, 2e-6)
    unresolved = KroneckerOperator([large, np.diag(np.geomspace(1e-6, 1, 150))], CPU)
    assert qn.estimate_spectrum(unresolved).errs == "either"


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


def test_the_same_seed_gives_the_same_bounds() -> None:
    H = rotated(np.linspace(0.1, 3, 200), 0)
    assert qn.estimate_spectrum(H, seed=4) == qn.estimate_spectrum(H, seed=4)


def test_bad_input_is_refused() -> None:
    for damping in (-1.0, float("nan"), float("inf"), 1e61, "large", None):
        with pytest.raises(ParameterError, match="damping"):
            qn.estimate_spectrum(np.eye(2), damping=damping)
    with pytest.raises(CombinationError, match="damping"):
        qn.estimate_spectrum(np.triu(np.ones((3, 3))), damping=0.1)


def test_all_eigenvalues_are_certified_and_a_zero_mode_or_an_unresolved_end_is_not() -> None:
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
    unresolved = qn.estimate_spectrum(np.diag(np.geomspace(1e-6, 1.0, 300)))
    assert not unresolved.certified and unresolved.failure_probability == 0 and unresolved.errs == "either"


@pytest.mark.parametrize("values", [np.ones(60), np.repeat([0.5, 1.0, 1e-9], 30), np.r_[np.zeros(3), np.ones(40)]])
def test_a_hundred_unknowns_are_certified_without_chance_whatever_the_multiplicities(values: np.ndarray) -> None:
    """A start vector sees each eigenvalue once; a proof has to see them all."""
    bounds = qn.estimate_spectrum(rotated(values, 1))
    assert bounds.errs == "exact" and bounds.failure_probability == 0 and bounds.matvecs == len(values)
    assert bounds.certified == bool(values.all())
    assert bounds.smallest_nonzero == pytest.approx(values[values > 0].min(), rel=1e-4)
    assert bounds.lower <= values.min() and bounds.upper >= values.max()


@pytest.mark.parametrize("shape", [(150, 150), (150, 300), (300, 150)])
def test_singular_values_of_a_well_conditioned_matrix_are_certified_beyond_a_hundred(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    values = np.linspace(1, 4, min(shape))
    U, V = (np.linalg.qr(random.standard_normal((k, k)))[0][:, : min(shape)] for k in shape)
    bounds = qn.estimate_spectrum((U * values) @ V.T)
    assert bounds.certified and bounds.failure_probability == 1e-6 and bounds.errs == "above"
    assert 0.7 <= bounds.lower <= 1 and 4 <= bounds.upper <= 4.1


def test_a_positive_spectrum_is_never_called_negative() -> None:
    assert not qn.estimate_spectrum(np.diag([1.0, 2.0, 3.0])).negative
    assert not qn.estimate_spectrum(np.ones((2, 2))).negative
    assert qn.estimate_spectrum(-np.eye(3)).negative


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
    assert true * (1 - 1e-14) <= bounds.upper <= 1.4 * true
    assert bounds.matvecs == 10 * min(n, 4)
    assert bounds.failure_probability == 1e-6 and bounds.errs == "above"
    assert bounds.method == "known damping, block power iteration lambda_max"


def test_the_zero_matrix_has_the_bound_zero() -> None:
    zero = as_operator(np.zeros((50, 50)), CPU)
    for method in ("power", "lanczos"):
        assert semidefinite_bounds(zero, 0.0, 1.0, CPU, method=method).upper <= 1e-300


def test_known_damping_of_an_explicit_matrix_counts_for_no_more_than_rounding_left_of_it() -> None:
    """Entries of G^t G + damping I are rounded: an eigenvalue may be below the damping."""
    G = np.random.default_rng(0).standard_normal((40, 200))
    for damping in (1e-1, 1e-11, 1e-14):
        H = as_operator(G.T @ G + damping * np.eye(200), CPU)
        bounds = semidefinite_bounds(H, damping, H.largest_row_sum(), CPU)
        smallest = np.linalg.eigvalsh(H.dense())[0]
        assert bounds.certified == (damping > 1e-10) and (bounds.lower <= smallest or not bounds.certified)
        assert 0.5 * damping <= bounds.lower <= damping
        assert bounds.errs == ("above" if bounds.certified else "either")


def test_lobpcg_finds_the_small_end_and_certifies_nothing() -> None:
    values = np.r_[0.01, np.linspace(0.5, 3, 299)]
    bounds = qn.estimate_spectrum(rotated(values, 0), method="lobpcg")
    assert bounds.lower == pytest.approx(0.01, rel=0.02) and bounds.upper == pytest.approx(3, rel=0.2)
    assert not bounds.certified and bounds.errs == "either" and bounds.upper >= 3
    assert bounds.method == "LOBPCG lambda_min, Lanczos lambda_max"
    indefinite = qn.estimate_spectrum(rotated(np.r_[-2.0, -1.5, values], 0), method="lobpcg")
    assert indefinite.negative and indefinite.lower == pytest.approx(0.01, rel=0.02)
    damped = qn.estimate_spectrum(rotated(values - 0.005, 0), damping=0.005, method="lobpcg")
    assert damped.lower == pytest.approx(0.01, rel=0.02)


def test_lobpcg_never_goes_below_a_known_damping_and_says_when_it_did_not_converge() -> None:
    G = np.random.default_rng(0).standard_normal((50, 200))
    bounds = qn.estimate_spectrum(qn.GramOperator(G, 0.1, "cpu"), damping=0.2, method="lobpcg")
    assert bounds.lower == pytest.approx(0.3, rel=1e-9) and bounds.lower >= 0.1 + 0.2
    hard = qn.estimate_spectrum(rotated(np.geomspace(1e-7, 1, 300), 0), method="lobpcg")
    assert hard.method.endswith("not converged")
    singular = qn.estimate_spectrum(rotated(np.r_[0.0, np.linspace(0.5, 1, 150)], 0), method="lobpcg")
    assert singular.lower == 0 and singular.smallest_nonzero == pytest.approx(0.5, rel=0.1)


def test_lobpcg_is_for_symmetric_matrices() -> None:
    with pytest.raises(CombinationError, match="lobpcg"):
        qn.estimate_spectrum(np.triu(np.ones((3, 3))), method="lobpcg")


def test_auto_is_lanczos_where_arrays_are_on_the_host() -> None:
    H = qn.GramOperator(np.random.default_rng(0).standard_normal((30, 200)), 0.1, "cpu")
    assert qn.estimate_spectrum(H, backend="cpu") == qn.estimate_spectrum(H, backend="cpu", method="lanczos")
    assert qn.estimate_spectrum(H, backend="cpu").method == "known damping, Lanczos lambda_max"


@pytest.mark.parametrize("method", ["lanczos", "power"])
@pytest.mark.parametrize("columns", [1, 2])
def test_a_certificate_allows_for_the_rounding_of_long_sums(method: str, columns: int) -> None:
    """0.1 is no FP64 number, and a million squares of it round to one side."""
    rows = 10**6
    exact = rows * columns * Fraction(0.1) ** 2 + Fraction(1e-3)
    bounds = qn.estimate_spectrum(qn.GramOperator(np.full((rows, columns), 0.1), 1e-3, CPU), method=method)
    assert bounds.certified and exact <= Fraction(bounds.upper) <= exact * (1 + Fraction(1, 10**6))


@pytest.mark.parametrize("method", ["lanczos", "power", "lobpcg"])
@pytest.mark.parametrize("scale", [1e-200, 1e-70, 1e70, 1e200])
def test_a_gram_operator_whose_norms_leave_the_range_of_double_precision_is_refused(method: str, scale: float) -> None:
    H = qn.GramOperator(math.sqrt(scale) * np.ones((3, 5)), 1e-3 * scale, CPU)
    with pytest.raises(ParameterError, match="operator"):
        qn.estimate_spectrum(H, method=method)


def test_power_is_refused_where_it_cannot_give_both_ends() -> None:
    with pytest.raises(CombinationError, match=r"method: .*lambda_max alone"):
        qn.estimate_spectrum(np.eye(3), method="power")
    assert qn.estimate_spectrum(np.eye(3), method="lanczos") == qn.estimate_spectrum(np.eye(3))
    for call in (
        lambda: qn.estimate_spectrum(np.eye(3), method="arnoldi"),
        lambda: semidefinite_bounds(as_operator(np.eye(3), CPU), 1.0, 1.0, CPU, method="arnoldi"),
    ):
        with pytest.raises(UnknownNameError, match="auto, lanczos, power, lobpcg"):
            call()


def test_rehearsal_of_the_gpu_backend_bounds_by_power_unless_lanczos_is_asked_for() -> None:
    G = np.random.default_rng(0).standard_normal((40, 300))
    true = np.linalg.norm(G, 2) ** 2 + 0.5
    with rehearse():
        for factor in (G, sp.csr_array(G)):
            before = Transfers.to_host
            H = qn.GramOperator(factor, 0.5, "gpu")
            bounds = qn.estimate_spectrum(H, backend="gpu", damping=0.25)
            assert bounds.certified and bounds.lower == 0.75 and bounds.method.startswith("known damping, block power")
            assert true + 0.25 <= bounds.upper <= 1.3 * (true + 0.25)
            assert Transfers.to_host - before <= 8 * (3 * 4 * 4 + 3)
        lanczos_bounds = qn.estimate_spectrum(H, backend="gpu", method="lanczos")
        assert lanczos_bounds.method == "known damping, Lanczos lambda_max" and lanczos_bounds.upper >= true
        conditioned = condition(G.T @ G, damping=0.5, semidefinite=True, backend="gpu")
        assert conditioned.bounds.method.startswith("known damping, block power") and conditioned.bounds.upper >= true
        with pytest.raises(CombinationError, match="method"):
            qn.estimate_spectrum(np.eye(3), backend="gpu", method="power")
