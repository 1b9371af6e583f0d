"""What the classical solvers are predicted to take: every part of it from the machine, and from the operator."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from qnewton_gpu import ClassicalMachine, CostModel, GramOperator, LinearSystem, SpectrumBounds
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs.model import expected_products
from qnewton_gpu.curvature import Objective
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.operators import Operator, as_operator
from qnewton_gpu.solvers import make_solver
from qnewton_gpu.systems import TorchFactor

CPU = select_backend("cpu")
BARE = ClassicalMachine("bare", cholesky_flops=1e10, lu_flops=2e10, bandwidth=1e9)
BOUNDS = SpectrumBounds(0.01, 1.0, certified=True, method="known")
BATCH, INPUTS, HIDDEN, CLASSES = 30, 6, 4, 3


def system(operator: Operator) -> LinearSystem:
    return LinearSystem(operator, np.ones((operator.shape[0], 1)), BOUNDS, 1e-2)


def seconds(solver: str, operator: Operator, machine: ClassicalMachine = BARE) -> float:
    return make_solver(solver).predict(system(operator), CostModel(classical=machine).under("honest"), CPU).seconds


@pytest.fixture
def of_network() -> GramOperator:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
    inputs, targets = torch.rand(BATCH, INPUTS), torch.randint(CLASSES, (BATCH,))
    objective = Objective(model, torch.nn.CrossEntropyLoss(), inputs, targets)
    return GramOperator(TorchFactor(GaussNewton(objective, objective.parameters.vector()), CPU), 0.1, CPU)


def test_forming_a_gauss_newton_matrix_is_charged_by_its_tables(of_network: GramOperator) -> None:
    ins, outs = (INPUTS + 1, HIDDEN + 1), (HIDDEN, CLASSES)  # a one for each bias
    pairs = [(0, 0), (1, 0), (1, 1)]
    entries = sum(BATCH * (ins[a] * ins[b] + outs[a] * outs[b]) for a, b in pairs)
    order = of_network.shape[0]
    assert of_network.assembly_bytes == 8 * (entries + 2 * order**2)
    machine = replace(BARE, assembly_flops=1e9, table_bandwidth=1e8)
    formed = of_network.assembly_flops / 1e9 + of_network.assembly_bytes / 1e8
    assert seconds("cholesky", of_network, machine) == pytest.approx(order**3 / 3 / 1e10 + formed)
    assert seconds("lu", of_network, machine) == pytest.approx(2 * order**3 / 3 / 2e10 + formed)
    assert seconds("qr", of_network, machine) == pytest.approx(4 * order**3 / 3 / 2e10 + formed)


def test_products_with_a_network_go_through_its_graph(of_network: GramOperator) -> None:
    machine = replace(BARE, graph_latency=1e-3, graph_bandwidth=1e7, step_latency=1e-4)
    products = expected_products(100.0, 1e-2, of_network.shape[0], decaying=True)
    assert products == pytest.approx(math.log(200) * 100**0.25 / math.sqrt(2), rel=1e-6)
    each = 1e-3 + of_network.product_bytes / 1e7 + 1e-4
    assert seconds("cg", of_network, machine) == pytest.approx(products * each, rel=0.05)  # kappa is rounded up


def test_a_gram_matrix_of_an_array_is_a_dense_one() -> None:
    G = np.random.default_rng(0).standard_normal((20, 10))
    gram = GramOperator(G, 0.1, CPU)
    assert gram.assembly_bytes == 0
    slow = replace(BARE, graph_latency=1.0, sparse_bandwidth=1.0)
    assert seconds("cg", gram, slow) == seconds("cg", gram)


def test_a_sparse_matrix_has_its_own_rates() -> None:
    matrix = (4 * sp.eye_array(200) + sp.eye_array(200, k=1) + sp.eye_array(200, k=-1)).tocsr()
    sparse, dense = as_operator(matrix, CPU), as_operator(matrix.toarray(), CPU)
    machine = replace(BARE, sparse_bandwidth=1e6, sparse_entry_seconds=1e-3)
    assert seconds("cg", sparse, machine) == pytest.approx(1e3 * seconds("cg", sparse))
    assert seconds("cg", dense, machine) == seconds("cg", dense)
    assert seconds("lu", sparse, machine) == pytest.approx(seconds("lu", sparse) + 1e-3 * matrix.nnz)
    assert seconds("cholesky", sparse, machine) == seconds("cholesky", dense, machine)  # it is made dense


@pytest.mark.parametrize("solver", ["cholesky", "lu", "qr"])
def test_a_small_factorisation_runs_below_its_rate(solver: str) -> None:
    dense = as_operator(np.eye(100) + 0.1, CPU)
    machine = replace(BARE, cholesky_half_order=300, lu_half_order=300, qr_half_order=300, latency=2.0)
    assert seconds(solver, dense, machine) == pytest.approx(2.0 + 4 * seconds(solver, dense))
