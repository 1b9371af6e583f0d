"""The cost model: oracle numbers of the published formulas, and every factor."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from hypothesis import given
from hypothesis import strategies as st

from qnewton_gpu import ClassicalMachine, CostModel, Hardware
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import jennings_queries
from qnewton_gpu.costs.model import expected_products, query_depth, readout_preparations, repetitions
from qnewton_gpu.errors import CombinationError, ParameterError, UnknownNameError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.polynomials import inverse_degree

MACHINE = ClassicalMachine("of the oracle", cholesky_flops=2e10, lu_flops=2e10, bandwidth=1e10)
SIZE = 12544


@pytest.mark.parametrize(("kappa", "queries"), [(10, 6.6e3), (100, 6.0e4), (1e3, 7.0e5), (1e4, 8.7e6)])
def test_jennings_queries(kappa: float, queries: float) -> None:
    found = jennings_queries(kappa, 1.0, 1e-4)
    assert float(f"{found:.1e}") == queries


@pytest.mark.parametrize(("epsilon", "kappa"), [(0.25, 10), (0, 10), (-1, 10), (float("nan"), 10), (1e-2, 3)])
def test_jennings_queries_outside_their_range_are_refused(epsilon: float, kappa: float) -> None:
    with pytest.raises(ParameterError, match="bound holds"):
        jennings_queries(kappa, 1.0, epsilon)
    assert jennings_queries(math.sqrt(12), 1.0, 0.24) > 0


@pytest.mark.parametrize(("kappa", "queries"), [(10, 99), (100, 991), (1e3, 9903), (1e4, 99035)])
def test_qsvt_queries(kappa: float, queries: int) -> None:
    assert inverse_degree(kappa, 1e-4) == queries


@pytest.mark.parametrize(("kappa", "products"), [(10, 16), (100, 50), (1e3, 157), (1e4, 496)])
def test_conjugate_gradient_products(kappa: float, products: int) -> None:
    cost = CostModel(classical=MACHINE).conjugate_gradients(kappa=kappa, epsilon=1e-4, product_flops=1, product_bytes=1)
    assert math.ceil(cost.factors["products"]) == products


def break_even(readout: str, classical_seconds: float) -> float:
    model = CostModel(Hardware(gate_time=1.0, readout=readout), MACHINE)
    quantum = model.quantum(
        "jennings", queries=jennings_queries(100, 2, 1e-2), rounds=1, success_probability=1.0, size=SIZE,
        nonzeros=SIZE**2, epsilon=1e-2,
    )  # fmt: skip
    return model.break_even_gate_time(quantum, classical_seconds)


def test_break_even_gate_times_against_lu_and_cg_without_and_with_readout() -> None:
    model = CostModel(classical=MACHINE)
    lu = model.factorisation("lu", SIZE).seconds
    cg = model.conjugate_gradients(
        kappa=100, epsilon=1e-2, product_flops=2.0 * SIZE**2, product_bytes=4.0 * SIZE**2
    ).seconds
    assert lu == pytest.approx(65.8, rel=1e-3)
    # METHODS 7 gives two digits
    assert break_even("none", lu) == pytest.approx(3.3e-6, rel=0.03)
    assert break_even("none", cg) == pytest.approx(8.5e-8, rel=0.03)
    assert break_even("inverse", cg) == pytest.approx(6.8e-14, rel=0.03)
    assert break_even("copies", cg) == pytest.approx(1.0e-15, rel=0.05)


@given(p=st.floats(1e-12, 1.0))
def test_amplification_takes_an_odd_number_of_runs_near_pi_over_four_roots(p: float) -> None:
    runs = repetitions(p, amplification=True)
    angle = math.asin(math.sqrt(p))
    assert runs == int(runs) and runs % 2 == 1
    assert abs(runs - math.pi / (2 * angle)) <= 1 + 1e-9 * runs  # (2m + 1) angle is as near pi/2 as it can be
    assert repetitions(p, amplification=False) == 1 / p
    assert runs <= 1 / p + 1


@pytest.mark.parametrize(("p", "runs"), [(1.0, 1), (0.5, 1), (0.25, 3), (0.03, 9), (1e-4, 157), (1e-8, 15707)])
def test_amplification_counts(p: float, runs: int) -> None:
    assert repetitions(p, amplification=True) == runs


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1, float("nan")])
def test_what_is_no_probability_never_succeeds(p: float) -> None:
    assert repetitions(p, True) == repetitions(p, False) == math.inf


def test_readout_preparations() -> None:
    assert readout_preparations("none", 1000, 1e-2) == 1
    assert readout_preparations("copies", 1000, 1e-2) == pytest.approx(0.65 * 1000 * 1e4)
    assert readout_preparations("inverse", 1000, 1e-2) == pytest.approx(1e5)


def test_query_depth() -> None:
    assert query_depth("qram", 1024, 8192) == 100
    assert query_depth("qrom", 1024, 8192) == 8192
    assert query_depth("qram", 1, 1) == 1  # a gate at least
    assert query_depth("qrom", 1, 0) == 1


@pytest.mark.parametrize("access", ["qram", "qrom"])
@pytest.mark.parametrize("readout", ["none", "copies", "inverse"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_quantum_cost_is_the_product_of_the_factors_it_shows(access: str, readout: str, loaded: bool) -> None:
    hardware = Hardware(3e-7, access=access, readout=readout, state_preparation=loaded)
    model = CostModel(hardware, MACHINE)
    cost = model.quantum("qsvt", queries=265, rounds=2, success_probability=0.04, size=1024, nonzeros=8192,
                         epsilon=1e-2, columns=3)  # fmt: skip
    depth = 100 if access == "qram" else 8192
    load = (100 if access == "qram" else 1024) if loaded else 0
    read = {"none": 1, "copies": 0.65 * 1024 / 1e-4, "inverse": 102400}[readout]
    assert cost.factors["repetitions"] == 7
    assert cost.seconds == pytest.approx(2 * 3 * 7 * read * (265 * depth + load) * 3e-7, rel=1e-12)
    f = cost.factors
    shown = f["rounds"] * f["columns"] * f["repetitions"] * f["readout"]
    assert cost.seconds == pytest.approx(shown * (f["queries"] * f["depth"] + f["preparation"]) * f["gate_time"])
    assert model.break_even_gate_time(cost, 5 * cost.seconds) == pytest.approx(5 * 3e-7, rel=1e-12)


def test_a_cost_without_end_breaks_even_at_no_gate_time() -> None:
    model = CostModel()
    cost = model.quantum("qsvt", queries=1, rounds=1, success_probability=0.0, size=2, nonzeros=2, epsilon=0.1)
    assert not cost.finite and model.break_even_gate_time(cost, 1.0) == 0.0


def test_assembly_is_charged_in_the_honest_comparison_only() -> None:
    ideal = CostModel(classical=MACHINE)
    assert ideal.comparison == "ideal" and ideal.candidates == ("qsvt", "lu")
    assert ideal.under("paper").candidates == ("jennings", "lu")
    for free in (ideal, ideal.under("paper"), ideal.under("released-code")):
        assert free.factorisation("cholesky", 100, 1e9).seconds == pytest.approx(1e6 / 3 / 2e10)
    honest = ideal.honest()
    assert set(honest.candidates) == {"qsvt", "kernel_reflection", "cholesky", "lu", "cg", "qr"}
    assert honest.factorisation("cholesky", 100, 1e9).seconds == pytest.approx((1e6 / 3 + 1e9) / 2e10)
    assert honest.factorisation("lu", 100, 1e9).seconds == pytest.approx((2e6 / 3 + 1e9) / 2e10)
    assert honest.hardware.readout == "inverse" and honest.hardware.state_preparation
    assert CostModel(Hardware(readout="copies"), MACHINE).honest().hardware.readout == "copies"


def test_the_free_comparisons_load_by_qram_and_read_for_nothing() -> None:
    charged = CostModel(Hardware(1e-9, access="qrom", readout="copies", state_preparation=True), MACHINE, "honest")
    assert charged.under("honest") is charged
    for name in ("ideal", "paper", "released-code"):
        free = charged.under(name)
        assert free.comparison == name and free.hardware == Hardware(1e-9) and free.classical == MACHINE


def test_a_search_is_charged_once_whatever_is_read() -> None:
    model = CostModel(Hardware(1e-9, readout="inverse", state_preparation=True), MACHINE)
    common = {"queries": 100, "rounds": 2, "success_probability": 0.5, "size": 64, "nonzeros": 640, "epsilon": 1e-2}
    plain, searching = model.quantum("k", **common), model.quantum("k", **common, search_queries=50, search_runs=9)
    extra = 50 * plain.factors["depth"] + 9 * plain.factors["preparation"]
    assert model.gates(searching.factors) - model.gates(plain.factors) == pytest.approx(extra, rel=1e-6)


def test_a_product_takes_what_arithmetic_or_memory_takes_longer() -> None:
    assert MACHINE.product_seconds(2e10, 1) == 1
    assert MACHINE.product_seconds(1, 2e10) == 2


def test_conjugate_gradients_take_one_product_at_least_and_each_column_its_own() -> None:
    def products(**options: float) -> float:
        return CostModel().conjugate_gradients(product_flops=1, product_bytes=1, **options).factors["products"]

    assert products(kappa=1, epsilon=0.9) == 1
    assert products(kappa=100, epsilon=1e-4, columns=4) == 4 * products(kappa=100, epsilon=1e-4)
    assert math.isinf(products(kappa=math.inf, epsilon=1e-4))


def test_the_reference_machine_predicts_what_it_always_did() -> None:
    model = CostModel().under("honest")
    assert model.factorisation("lu", 1210).seconds == 2 * 1210**3 / 3 / 1e11
    assert model.factorisation("cholesky", 1210, 4e9).seconds == pytest.approx((1210**3 / 3 + 4e9) / 1e11)
    assert model.least_squares(300, 200, 1e9).seconds == pytest.approx((2 * 200**2 * (300 - 200 / 3) + 1e9) / 1e11)
    late = CostModel(classical=replace(MACHINE, latency=0.5, lu_half_order=100))
    assert late.factorisation("lu", 100).seconds == pytest.approx(0.5 + 2 * 2e6 / 3 / 2e10)
    cg = model.conjugate_gradients(kappa=100, epsilon=1e-2, product_flops=2e10, product_bytes=1e10, kind="graph")
    assert cg.seconds == pytest.approx(5 * math.log(200) * 0.5)


@given(
    kappa=st.floats(1, 1e15), more=st.floats(1, 1e3), epsilon=st.floats(1e-12, 0.9), size=st.integers(1, 10**6),
    decaying=st.booleans(),
)  # fmt: skip
def test_expected_products_are_monotone_and_below_the_bound(
    kappa: float, more: float, epsilon: float, size: int, decaying: bool
) -> None:
    bound = max(1.0, math.sqrt(kappa) / 2 * math.log(2 / epsilon))
    expected = expected_products(kappa, epsilon, size, decaying)
    assert 1 <= expected <= min(bound, 2 * size)
    assert expected <= expected_products(kappa * more, epsilon, size, decaying)
    assert expected <= expected_products(kappa, epsilon / more, size, decaying)
    assert expected <= expected_products(kappa, epsilon, 2 * size, decaying)
    assert expected_products(kappa, epsilon) == bound and math.isinf(expected_products(math.inf, epsilon, size))


def test_what_physical_gates_factories_and_processors_add_is_kept() -> None:
    plain: dict[str, Any] = {"queries": 1000, "rounds": 2, "success_probability": 0.04, "size": 1024, "nonzeros": 8192,
                             "epsilon": 1e-2}  # fmt: skip
    hardware = Hardware(1e-9, readout="copies", level="physical", factories=2, parallel=10)
    cost = CostModel(hardware, MACHINE).quantum("qsvt", **plain)
    factors = cost.factors
    gates = CostModel.gates(factors)
    assert gates == pytest.approx(2 * 7 * factors["readout"] * 1000 * 100)
    assert factors["code_distance"] == hardware.code_distance(gates, 22) > 1
    assert factors["logical_gate_time"] == pytest.approx(factors["code_distance"] * 8e-9)
    assert factors["parallel"] == pytest.approx(10) and factors["t_gates"] == gates
    # 225-to-1 in two factories: 7.5 logical gate times for each gate
    assert cost.seconds == pytest.approx(gates / 10 * 7.5 * factors["logical_gate_time"])
    model = CostModel(hardware, MACHINE)
    at = CostModel(replace(hardware, gate_time=model.break_even_gate_time(cost, 1e-3)), MACHINE)
    assert at.quantum("qsvt", **plain).seconds == pytest.approx(1e-3)
    assert "code_distance" not in CostModel(Hardware(1e-9), MACHINE).quantum("qsvt", **plain).factors


def test_a_norm_search_is_shared_by_no_processors() -> None:
    plain: dict[str, Any] = {"queries": 100, "rounds": 1, "success_probability": 1.0, "size": 16, "nonzeros": 64,
                             "epsilon": 1e-2, "columns": 4, "search_queries": 50, "search_runs": 5}  # fmt: skip
    one = CostModel(Hardware(1e-6), MACHINE).quantum("kernel_reflection", **plain)
    four = CostModel(Hardware(1e-6, parallel=4), MACHINE).quantum("kernel_reflection", **plain)
    assert one.seconds == pytest.approx(4 * 16 * (100 + 50) * 1e-6)
    assert four.seconds == pytest.approx(16 * (100 + 4 * 50) * 1e-6)


def test_an_unknown_comparison_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match="ideal, paper, released-code, honest"):
        CostModel(comparison="mine")


def test_jennings_grows_like_kappa_log_kappa() -> None:
    kappas = np.array([1e2, 1e3, 1e4, 1e5])
    ratio = np.array([jennings_queries(k, 1, 1e-3) for k in kappas]) / (kappas * np.log(kappas))
    assert ratio.max() / ratio.min() < 1.5


def test_a_sparse_lu_is_charged_within_its_envelope() -> None:
    model = CostModel()
    dense = model.factorisation("lu", 20000)
    band = model.factorisation("lu", 20000, fill_flops=4.0 * 20000, entries=60000)
    assert band.factors["flops"] == 4.0 * 20000 and band.seconds < 1e-6 * dense.seconds
    assert model.factorisation("lu", 100, fill_flops=1e9).seconds == model.factorisation("lu", 100).seconds
    slow = CostModel(classical=replace(MACHINE, sparse_lu_flops=1e6, sparse_entry_seconds=1e-3))
    assert slow.factorisation("lu", 100, fill_flops=1e5, entries=300).seconds == pytest.approx(0.3 + 0.1)


def test_the_envelope_counts_what_superlu_does_to_a_band() -> None:
    def flops(matrix: sp.csr_array) -> float:
        return as_operator(matrix, select_backend("cpu")).fill_flops

    for n, width in ((500, 1), (2000, 1), (300, 7)):
        offsets = list(range(-width, width + 1))
        band = sp.diags_array([np.ones(n)] * len(offsets), offsets=offsets, shape=(n, n)) + 4 * width * sp.eye_array(n)
        factors = spla.splu(band.tocsc(), permc_spec="NATURAL", options={"DiagPivotThresh": 0.0})
        below = np.diff(factors.L.indptr) - 1.0
        right = np.diff(factors.U.tocsr().indptr) - 1.0
        assert flops(band.tocsr()) == pytest.approx(2 * (below * right).sum() + 2 * n, rel=0.05)
    assert flops(sp.eye_array(50, format="csr")) == 100


def test_the_band_is_that_after_reordering() -> None:
    random = np.random.default_rng(0)
    place = random.permutation(500)
    tridiagonal = sp.diags_array([np.ones(499), 4 * np.ones(500), np.ones(499)], offsets=[-1, 0, 1]).tocsr()
    shuffled = tridiagonal[place][:, place]
    assert as_operator(shuffled, select_backend("cpu")).half_bandwidth == 1
    assert as_operator(np.ones((4, 4)) + 4 * np.eye(4), select_backend("cpu")).half_bandwidth == 3


def test_a_comparison_charges_what_its_name_says() -> None:
    free = Hardware(1e-9)
    assert CostModel(free, MACHINE, "honest") == CostModel(free, MACHINE).under("honest")
    assert CostModel(replace(free, readout="copies"), MACHINE, "honest").hardware.readout == "copies"
    for changes in ({"access": "qrom"}, {"readout": "inverse"}, {"state_preparation": True}):
        charged = replace(free, **changes)
        assert CostModel(charged, MACHINE).hardware == charged
        for name in ("paper", "released-code"):
            with pytest.raises(CombinationError, match="reads for free"):
                CostModel(charged, MACHINE, name)


@pytest.mark.parametrize("amplification", [True, False])
def test_rounds_that_were_run_are_one_solve(amplification: bool) -> None:
    """Equal rounds of equal columns take what one prediction of them all says: one code, and shared processors."""
    common: dict[str, Any] = {"queries": 1e6, "success_probability": 0.04, "size": 64, "nonzeros": 640,
                              "epsilon": 1e-2, "search_queries": 0.0}  # fmt: skip
    for hardware in (
        Hardware(1e-9, level="physical", factories=1, amplification=amplification),
        Hardware(1e-9, parallel=4, readout="copies", amplification=amplification),
    ):
        model = CostModel(hardware, MACHINE)
        predicted = model.quantum("qsvt", rounds=9, columns=3, **common)
        column = model.quantum("qsvt", rounds=1, **common)
        assert model.seconds_of_rounds([[column] * 3] * 9, 64) == pytest.approx(predicted.seconds, rel=1e-9)
        assert model.seconds_of_rounds([], 64) == 0
    searching = model.quantum("k", rounds=1, columns=3, **{**common, "search_queries": 1e7, "search_runs": 9})
    column = model.quantum("k", rounds=1, **{**common, "search_queries": 1e7, "search_runs": 9})
    assert model.seconds_of_rounds([[column] * 3], 64) == pytest.approx(searching.seconds, rel=1e-9)
