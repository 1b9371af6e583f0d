"""Toeplitz operators: products, bounds and closed forms against dense matrices, and at sizes that have none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu import estimate_spectrum
from qnewton_gpu.backends import select_backend
from qnewton_gpu.errors import CombinationError, NotEnoughMemoryError, ParameterError
from qnewton_gpu.operators import ToeplitzOperator, screened_poisson
from qnewton_gpu.operators.closed_forms import constant_solution, point_solution, sine_solution
from qnewton_gpu.tensor_networks.functions import constant, delta, sine_mode

CPU = select_backend("cpu")


def by_kron(operator: ToeplitzOperator) -> np.ndarray:
    """The same matrix from its definition."""
    total = operator.diagonal * np.eye(operator.shape[0])
    for offset in operator.offsets:
        matrix = np.ones((1, 1))
        for axis, n in enumerate(operator.qubits):
            one = np.eye(1 << n)
            if axis == offset.axis:
                one = np.eye(1 << n, k=offset.amount) + np.eye(1 << n, k=-offset.amount)
            matrix = np.kron(one, matrix)
        total += offset.coefficient * matrix
    return total


@st.composite
def toeplitz_operators(draw, most_qubits: int = 5):
    qubits = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3).filter(lambda axes: sum(axes) <= most_qubits))
    coefficient = st.sampled_from([-1.0, -0.3, 0.4, 2.0])
    offsets = [draw(st.dictionaries(st.integers(1, (1 << n) - 1), coefficient, max_size=2)) for n in qubits]
    diagonal = draw(st.sampled_from([0.0, 5.0, -1.5]))
    if not diagonal and not any(offsets):
        offsets[0] = {1: -1.0}
    return ToeplitzOperator(qubits, diagonal, offsets, CPU)


@settings(max_examples=40, deadline=None)
@given(H=toeplitz_operators())
def test_products_entries_bounds_and_the_chain_are_those_of_the_matrix(H: ToeplitzOperator) -> None:
    expected = by_kron(H)
    v = np.random.default_rng(0).standard_normal((len(expected), 2))
    assert np.allclose(H.matvec(v), expected @ v, rtol=0, atol=1e-13)
    assert np.allclose(H.rmatvec(v), expected @ v, rtol=0, atol=1e-13)
    assert np.array_equal(H.dense(), expected)
    assert H.nonzeros == np.count_nonzero(expected)
    assert H.largest_row_sum() >= abs(expected).sum(axis=1).max() - 1e-14
    assert np.allclose(H.as_mpo().matrix(), expected, rtol=0, atol=1e-14)
    values = np.linalg.eigvalsh(expected)
    low, high = H.eigenvalue_range
    assert low <= values[0] and values[-1] <= high
    if all(len({offset.amount for offset in H.offsets if offset.axis == axis}) <= 1 for axis in range(len(H.qubits))):
        assert np.allclose([low, high], values[[0, -1]], rtol=0, atol=1e-12)
    bounds = estimate_spectrum(H)
    assert bounds.lower <= abs(values).min() and abs(values).max() <= bounds.upper
    definite = low > 0 or high < 0
    assert (bounds.method == "closed form") == definite and bounds.certified >= definite
    assert bounds.negative == bool(values[0] < -1e-12)


def test_the_symbol_bounds_two_offsets_better_than_the_sum_of_their_norms() -> None:
    """2 cos t - cos 3t has its extrema +-2 at t = pi/3, 2 pi/3; the sum of the norms is 3."""
    H = ToeplitzOperator([40], 4.0, [{1: 1.0, 3: -0.5}])
    low, high = H.eigenvalue_range
    extreme = max(2 * math.cos(t) - math.cos(3 * t) for t in np.linspace(0, math.pi, 10001))
    assert high == pytest.approx(4 + extreme, abs=1e-6) and high < 4 + 2.9
    assert low == pytest.approx(4 - extreme, abs=1e-6)
    bounds = estimate_spectrum(H)
    assert bounds.certified and bounds.matvecs == 0 and bounds.kappa < 7


@pytest.mark.parametrize("qubits", [[3], [5], [2, 3], [1, 2, 2]])
@pytest.mark.parametrize("kappa", [2.0, 5.0])
def test_screened_poisson_has_the_condition_number_asked_for(qubits: list[int], kappa: float) -> None:
    if sum(qubits) == 5 and len(qubits) == 3:
        kappa = 1.5  # two points an axis: Poisson's own is below 3
    H = screened_poisson(qubits, kappa, CPU)
    values = np.linalg.eigvalsh(H.dense())
    assert values[-1] / values[0] == pytest.approx(kappa, rel=1e-12)
    assert H.diagonal >= 2 * len(qubits)
    assert {offset.coefficient for offset in H.offsets} == {-1.0}
    assert estimate_spectrum(H).kappa == pytest.approx(kappa, rel=1e-12)


def test_poisson_without_screening_is_the_most_ill_conditioned_one() -> None:
    size, cot = 1 << 10, 1 / math.tan(math.pi / (2 * ((1 << 10) + 1)))
    H = screened_poisson([10], cot**2, CPU)
    assert H.diagonal == pytest.approx(2.0, rel=1e-14) and H.shape == (size, size)
    with pytest.raises(ParameterError, match=r"kappa: .*without screening"):
        screened_poisson([10], 1.01 * cot**2, CPU)
    with pytest.raises(ParameterError, match="kappa"):
        screened_poisson([10], 1.0, CPU)


@pytest.mark.parametrize(
    ("diagonal", "coefficient"), [(2.5, -1.0), (2.5, 1.0), (-2.5, 1.0), (-2.1, -1.0), (3.0, -0.001), (1.5, 0.0)]
)
def test_closed_forms_in_one_dimension_solve_the_system(diagonal: float, coefficient: float) -> None:
    H = ToeplitzOperator([4], diagonal, [{1: coefficient}], CPU)
    inverse, every = np.linalg.inv(H.dense()), np.arange(16)
    for source in (0, 3, 15):
        assert np.allclose(point_solution(H, source, every), inverse[:, source], rtol=0, atol=1e-14)
    assert np.allclose(constant_solution(H, every), inverse.sum(axis=1) / 4, rtol=0, atol=1e-14)
    modes = {(1,): 0.5, (7,): -2.0, (16,): 1.0}
    b = sum(amplitude * sine_mode(4, mode[0]).vector() for mode, amplitude in modes.items())
    assert np.allclose(sine_solution(H, modes, every), inverse @ b, rtol=0, atol=1e-13)


def test_sine_modes_of_two_axes_solve_the_system() -> None:
    H = ToeplitzOperator([2, 3], 5.0, [{1: -1.0}, {1: 0.5}], CPU)
    modes = {(1, 1): 1.0, (3, 8): -0.5, (4, 2): 0.25}
    b = sum(a * sine_mode(2, m0).kron(sine_mode(3, m1)).vector() for (m0, m1), a in modes.items())
    assert np.allclose(sine_solution(H, modes, np.arange(32)), np.linalg.solve(H.dense(), b), rtol=0, atol=1e-14)


def test_closed_forms_hold_the_equation_where_no_vector_fits() -> None:
    """The three entries of a row, for N = 2^40, at walls, at the source and anywhere."""
    H = screened_poisson([40], 100, CPU)
    size = H.shape[0]
    centers = np.array([1, 2, 1 << 39, (1 << 39) + 1, (1 << 39) + 40, 123456789012, size - 2])
    around = [centers - 1, centers, centers + 1]
    source = 1 << 39
    for solution, b in (
        (lambda j: point_solution(H, source, j), (centers == source) * 1.0),
        (lambda j: constant_solution(H, j), np.full(len(centers), 2.0**-20)),
        (lambda j: sine_solution(H, {(12345678901,): 1.0}, j), sine_mode(40, 12345678901).entries(centers)),
    ):
        below, middle, above = map(solution, around)
        assert np.allclose(H.diagonal * middle - below - above, b, rtol=0, atol=2e-14 * max(abs(b).max(), 1e-300))
    ends = constant_solution(H, np.array([0, size - 1]))
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


@pytest.mark.parametrize("num_qubits", [1, 2, 5])
def test_states_known_in_closed_form_are_those_vectors(num_qubits: int) -> None:
    size = 1 << num_qubits
    j = np.arange(size)
    for mode in {1, 2, size // 2, size}:
        expected = math.sqrt(2 / (size + 1)) * np.sin(math.pi * mode * (j + 1) / (size + 1))
        state = sine_mode(num_qubits, mode)
        assert state.bond_dimension <= 2
        assert np.allclose(state.vector(), expected, rtol=0, atol=1e-14)
    assert np.allclose(constant(num_qubits).vector(), 1 / math.sqrt(size), rtol=1e-14)
    for index in (0, size - 1, size // 2):
        assert np.array_equal(delta(num_qubits, index).vector(), np.eye(size)[index])


@pytest.mark.parametrize("mode", [1, 2, 999_999_999_989, 1 << 40])
def test_a_sine_of_2_to_the_40_points_is_right_to_thirteen_digits(mode: int) -> None:
    from fractions import Fraction

    state, size = sine_mode(40, mode), 1 << 40
    assert state.norm() == pytest.approx(1, abs=1e-13)
    assert abs(state.overlap(sine_mode(40, 3))) < 1e-13
    indices = [0, 1, size - 1, size // 3, 987654321987]
    turns = [Fraction(mode * (j + 1), size + 1) % 2 for j in indices]
    expected = [math.sin(math.pi * float(turn if turn <= 1 else turn - 2)) for turn in turns]
    found = state.entries(np.array(indices)) / math.sqrt(2 / (size + 1))
    assert np.allclose(found, expected, rtol=0, atol=1e-13)


def test_a_mode_may_be_a_fixed_width_integer() -> None:
    index = [0, 2**39, 2**40 - 1]
    for mode in (3, 2**30 + 1):
        mine, theirs = sine_mode(40, np.int64(mode)), sine_mode(40, mode)
        assert np.array_equal(mine.entries(np.array(index)), theirs.entries(np.array(index)))


def test_sine_modes_are_eigenvectors_of_the_chain_with_their_eigenvalue() -> None:
    H, modes = screened_poisson([20, 20], 100, CPU), (3, 700_001)
    state = sine_mode(20, modes[0]).kron(sine_mode(20, modes[1]))
    image, error = H.as_mpo().apply(state)
    assert error < 1e-13
    assert (image - H.eigenvalue(modes) * state).compressed()[0].norm() < 1e-12
    low, high = H.eigenvalue_range
    assert low <= H.eigenvalue((1, 1)) <= H.eigenvalue(modes) <= H.eigenvalue((1 << 20, 1 << 20)) <= high


def test_what_does_not_fit_and_what_is_no_operator_is_refused() -> None:
    with pytest.raises(NotEnoughMemoryError, match="An array fits up to"):
        screened_poisson([40], 10, CPU).dense()
    indefinite = ToeplitzOperator([40], 0.3, [{1: 1.0}], CPU)
    with pytest.raises(NotEnoughMemoryError, match="definite"):
        estimate_spectrum(indefinite)
    for qubits, diagonal, offsets, argument in (
        ([], 1.0, [], "qubits"),
        ([0], 1.0, [{}], "qubits"),
        ([2.5], 1.0, [{}], "qubits"),
        (5, 1.0, [{}], "qubits"),
        ([2**15], 1.0, [{}], "has 2.n points"),
        ([2], 1.0, [{4: 1.0}], "offsets"),
        ([2], 1.0, [{0: 1.0}], "offsets"),
        ([2], 1.0, [{1: 1.0}, {}], "offsets"),
        ([2], 0.0, [{1: 0.0}], "offsets"),
        ([2], float("nan"), [{}], "offsets"),
        ([2], 1e80, [{}], "offsets"),
    ):
        with pytest.raises(ParameterError, match=argument):
            ToeplitzOperator(qubits, diagonal, offsets, CPU)
    with pytest.raises(ParameterError, match="tridiagonal"):
        ToeplitzOperator([3], 3.0, [{2: 1.0}], CPU).eigenvalue((1,))
    for H in (screened_poisson([2, 2], 2, CPU), ToeplitzOperator([4], 1.0, [{1: 1.0}], CPU)):
        with pytest.raises(ParameterError, match="one tridiagonal axis"):
            point_solution(H, 0, [0])
    for call in (lambda: sine_mode(3, 0), lambda: sine_mode(3, 9), lambda: delta(3, 8), lambda: delta(3, 5.0)):
        with pytest.raises(ParameterError):
            call()


def test_encodings_of_other_operators_name_this_one() -> None:
    from qnewton_gpu.encodings import choose_encoding

    with pytest.raises(CombinationError, match="toeplitz"):
        choose_encoding("walk", screened_poisson([3], 2, CPU))


@pytest.mark.parametrize("index", [-1, 16])
def test_closed_forms_name_an_index_that_is_not_of_the_vector(index: int) -> None:
    H = screened_poisson([4], 4.0, CPU)
    asked = (
        lambda: point_solution(H, 3, [index]),
        lambda: point_solution(H, index, [3]),
        lambda: constant_solution(H, [index]),
        lambda: sine_solution(H, {(1,): 1.0}, [index]),
    )
    for one in asked:
        with pytest.raises(ParameterError, match=r"\[0, 16\)"):
            one()


def test_closed_forms_reach_as_far_as_their_exponents() -> None:
    H = screened_poisson([61], 4.0, CPU)
    assert 0 < point_solution(H, 0, [0])[0] < point_solution(H, 1 << 60, [1 << 60])[0]
    with pytest.raises(ParameterError, match="62 qubits"):
        constant_solution(screened_poisson([62], 4.0, CPU), [0])


@pytest.mark.parametrize(
    ("diagonal", "offsets", "said"),
    [
        ("2", [{}], "diagonal: '2' is not a real number"),
        (1j, [{}], "diagonal: 1j is not"),
        (2.0, [{1: 1j}], "offsets: 1j is not"),
        (2.0, {1: 1.0}, "offsets: {1: 1.0} are no dicts"),
        (2.0, [[1.0]], "offsets: .* are no dicts"),
        (2.0, [{}, {}], "offsets: are 2 for 1 axes"),
    ],
)
def test_what_is_no_number_or_no_dict_is_named(diagonal: object, offsets: object, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        ToeplitzOperator([2], diagonal, offsets, CPU)  # type: ignore[arg-type]


def test_a_condition_number_is_a_number() -> None:
    with pytest.raises(ParameterError, match="kappa: 'ten' is not a real number"):
        screened_poisson([2], "ten", CPU)  # type: ignore[arg-type]
    assert screened_poisson([2], np.int64(4), CPU).diagonal == screened_poisson([2], 4.0, CPU).diagonal
