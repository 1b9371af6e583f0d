"""K-FAC against curvlinops, against the Gauss-Newton blocks where it is exact, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qnewton_gpu.curvature import Objective, kronecker, make_curvature
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.curvature.kronecker import SHARINGS, KroneckerFactored, KroneckerLayer
from qnewton_gpu.curvature.layer_sums import LayerSums
from qnewton_gpu.errors import UnknownNameError, UnsupportedModelError

FP64 = torch.float64
LOSSES = {"cross-entropy": nn.CrossEntropyLoss(), "mean squared error": nn.MSELoss()}


class Mean(nn.Module):
    """The mean over all axes between the batch and the last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1, -2).mean(dim=1)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "one layer": (lambda: nn.Linear(4, 3), (4,)),
    "vectors": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)), (4,)),
    "sequences": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), Mean(), nn.Linear(6, 3)),
        (7, 4),
    ),
    "two axes": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Flatten(), nn.Linear(30, 3)), (2, 3, 4)),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1, stride=2),
            nn.Tanh(),
            nn.Conv2d(3, 4, 2, dilation=2, padding="valid", bias=False),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        (2, 8, 6),
    ),
    "same padding": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, (3, 5), padding="same"), nn.Flatten(), nn.Tanh(), nn.Linear(24, 3)),
        (1, 3, 4),
    ),
}


def make_objective(model: nn.Module, shape: tuple[int, ...], loss: str, batch: int = 9) -> Objective:
    inputs = torch.randn(batch, *shape, dtype=FP64)
    targets = torch.randint(3, (batch,)) if loss == "cross-entropy" else torch.randn(batch, 3, dtype=FP64)
    return Objective(model.double(), LOSSES[loss], inputs, targets)


def named(network: str, loss: str, batch: int = 9) -> Objective:
    torch.manual_seed(0)
    make, shape = NETWORKS[network]
    return make_objective(make(), shape, loss, batch)


def kfac(objective: Objective, sharing: str = "expand") -> KroneckerFactored:
    return KroneckerFactored(objective, objective.parameters.vector(), sharing)


def reference(objective: Objective, loss: str, sharing: str) -> torch.Tensor:
    """curvlinops' K-FAC of the same parameters as an (n, n) matrix."""
    from curvlinops import KFACLinearOperator

    operator = KFACLinearOperator(
        objective.model,
        LOSSES[loss],
        objective.parameters.tensors,
        [(objective.inputs, objective.targets)],
        fisher_type="type-2",
        kfac_approx=sharing,
        separate_weight_and_bias=False,
        check_deterministic=False,
    )
    result: torch.Tensor = operator @ torch.eye(objective.parameters.size, dtype=FP64)
    return result


def gauss_newton_blocks(objective: Objective, layers: list[KroneckerLayer]) -> torch.Tensor:
    """The exact GGN with everything between two layers set to zero."""
    theta = objective.parameters.vector()
    ggn, kept = GaussNewton(objective, theta).dense(), torch.zeros(theta.numel(), theta.numel(), dtype=FP64)
    for layer in layers:
        index = layer.gradient(torch.arange(theta.numel())).reshape(-1)
        kept[index[:, None], index] = ggn[index[:, None], index]
    return kept


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_blocks_equal_those_of_curvlinops(network: str, loss: str, sharing: str) -> None:
    objective = named(network, loss)
    expected = reference(objective, loss, sharing)
    torch.testing.assert_close(kfac(objective, sharing).block_dense(), expected, atol=1e-14, rtol=1e-10)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_frozen_parameters_are_left_out_as_in_curvlinops(frozen: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    getattr(model[0], frozen).requires_grad_(False)
    objective = make_objective(model, (4,), "cross-entropy")
    K = kfac(objective)
    assert K.layers[0].shape == {"weight": (5, 1), "bias": (5, 4)}[frozen]
    torch.testing.assert_close(K.block_dense(), reference(objective, "cross-entropy", "expand"), atol=1e-14, rtol=1e-10)


def test_a_layer_without_trained_parameters_has_no_factors() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    model[0].requires_grad_(False)
    assert [layer.name for layer in kfac(make_objective(model, (4,), "cross-entropy")).layers] == ["2"]


def test_products_are_those_of_the_exact_gauss_newton_matrix() -> None:
    objective = named("sequences", "cross-entropy")
    theta = objective.parameters.vector()
    K, exact = make_curvature("kfac", objective, theta), GaussNewton(objective, theta)
    V = torch.randn(theta.numel(), 3, dtype=FP64)
    assert isinstance(K, KroneckerFactored) and K.semidefinite and K.size == theta.numel() and K.sharing == "expand"
    torch.testing.assert_close(K.product(V), exact.product(V), atol=0, rtol=0)
    torch.testing.assert_close(K.dense(), exact.dense(), atol=0, rtol=0)
    assert (K.block_dense() - exact.dense()).abs().max() > 1e-3  # an approximation, which the product is not


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", ["one layer", "vectors"])
def test_one_example_gives_the_exact_blocks(network: str, loss: str) -> None:
    objective = named(network, loss, batch=1)
    K = kfac(objective)
    torch.testing.assert_close(K.block_dense(), gauss_newton_blocks(objective, K.layers), atol=1e-15, rtol=1e-11)


def test_deep_linear_networks_with_squared_error_have_exact_blocks() -> None:
    """Martens and Grosse's factorisation of the expectation holds where g does not depend on the example."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5, bias=False), nn.Linear(5, 3))
    objective = make_objective(model, (4,), "mean squared error")
    for sharing in SHARINGS:
        K = kfac(objective, sharing)
        torch.testing.assert_close(K.block_dense(), gauss_newton_blocks(objective, K.layers), atol=1e-15, rtol=1e-11)


@pytest.mark.parametrize(
    ("end", "exact"), [(Mean(), "reduce"), (nn.Identity(), "expand")], ids=["a loss a sequence", "a loss a place"]
)
def test_each_sharing_is_exact_where_it_is_meant_to_be(end: nn.Module, exact: str) -> None:
    """Linear networks on sequences (Eschenhagen et al.): expand for one loss a place, reduce for a pooled output."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3), end).double()
    inputs = torch.randn(6, 7, 4, dtype=FP64)
    objective = Objective(model, nn.MSELoss(), inputs, torch.randn_like(model(inputs)).detach())
    for sharing in SHARINGS:
        K = kfac(objective, sharing)
        error = (K.block_dense() - gauss_newton_blocks(objective, K.layers)).abs().max()
        assert (error < 1e-14) == (sharing == exact), f"{sharing}: {error}"


class Split(nn.Module):
    """A convolution in two groups with any padding, written as two plain ones on padded halves of the channels."""

    def __init__(self, grouped: nn.Conv2d, padding: tuple[int, ...]) -> None:
        super().__init__()
        (first, second), self.padding = grouped.weight.detach().chunk(2), padding
        self.mode = "constant" if grouped.padding_mode == "zeros" else grouped.padding_mode
        self.halves = nn.ModuleList()
        for weight, bias in zip((first, second), grouped.bias.detach().chunk(2), strict=True):
            half = nn.Conv2d(weight.shape[1], len(weight), weight.shape[2:], grouped.stride)
            half.load_state_dict({"weight": weight, "bias": bias})
            self.halves.append(half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(x, self.padding, self.mode)
        return torch.cat([half(part) for half, part in zip(self.halves, padded.chunk(2, dim=1), strict=True)], dim=1)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
def test_groups_and_paddings_are_those_of_separate_convolutions_on_padded_inputs(mode: str) -> None:
    torch.manual_seed(0)
    grouped = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), padding_mode=mode, groups=2)
    last = nn.Linear(36, 3)
    networks = [
        nn.Sequential(layer, nn.Flatten(), nn.Tanh(), last) for layer in (grouped, Split(grouped, (0, 0, 1, 1)))
    ]
    for sharing in SHARINGS:
        factors = []
        for model in networks:
            torch.manual_seed(1)
            factors.append(kfac(make_objective(model, (4, 3, 4), "cross-entropy"), sharing).layers)
        assert [layer.name for layer in factors[0]] == ["0[0]", "0[1]", "3"]
        for one, two in zip(*factors, strict=True):
            torch.testing.assert_close(one.inputs, two.inputs, atol=1e-15, rtol=1e-12)
            torch.testing.assert_close(one.outputs, two.outputs, atol=1e-15, rtol=1e-12)


def test_single_precision_models_have_factors_in_double_precision() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    inputs, targets = torch.randn(9, 4), torch.randint(3, (9,))
    single = kfac(Objective(model, LOSSES["cross-entropy"], inputs, targets))
    double = kfac(Objective(model.double(), LOSSES["cross-entropy"], inputs, targets))
    assert {factor.dtype for layer in single.layers for factor in (layer.inputs, layer.outputs)} == {FP64}
    torch.testing.assert_close(single.block_dense(), double.block_dense(), atol=1e-16, rtol=1e-12)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6), widths=st.lists(st.integers(1, 6), min_size=1, max_size=3), batch=st.integers(1, 12),
    loss=st.sampled_from(sorted(LOSSES)), bias=st.booleans(), sequence=st.integers(0, 4),
    sharing=st.sampled_from(SHARINGS),
)  # fmt: skip
def test_factors_of_any_network_are_symmetric_and_semidefinite(
    seed: int, widths: list[int], batch: int, loss: str, bias: bool, sequence: int, sharing: str
) -> None:
    torch.manual_seed(seed)
    sizes = [4, *widths]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), nn.ReLU()]
    pooled = [Mean()] if sequence else []
    shape = (sequence, 4) if sequence else (4,)
    objective = make_objective(nn.Sequential(*layers, *pooled, nn.Linear(sizes[-1], 3)), shape, loss, batch)
    K = kfac(objective, sharing)
    damping = 10.0 ** (seed % 7 - 6)
    for layer in K.layers:
        for factor, damped, shift in zip(
            (layer.inputs, layer.outputs), layer.damped(damping), layer.shifts(damping), strict=True
        ):
            assert factor.dtype == FP64 and not factor.requires_grad and torch.equal(factor, factor.T)
            largest = float(torch.linalg.matrix_norm(damped, 2))
            assert torch.linalg.eigvalsh(factor)[0] >= -1e-13 * largest
            assert torch.linalg.eigvalsh(damped)[0] >= shift - 1e-13 * largest
            assert torch.isfinite(damped).all()
        assert layer.shifts(damping)[0] * layer.shifts(damping)[1] == pytest.approx(damping, rel=1e-12)


def test_the_factors_of_a_batch_said_twice_are_those_of_the_batch() -> None:
    one = named("images", "cross-entropy")
    two = Objective(one.model, LOSSES["cross-entropy"], one.inputs.repeat(2, 1, 1, 1), one.targets.repeat(2))
    torch.testing.assert_close(kfac(two).block_dense(), kfac(one).block_dense(), atol=1e-16, rtol=1e-12)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_examples_taken_a_few_at_a_time_give_the_same(sharing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = named("images", "cross-entropy", batch=11)
    whole, batches = kfac(objective, sharing).block_dense(), []
    real = LayerSums.add
    monkeypatch.setattr(LayerSums, "add", lambda layer, x, *rest: batches.append(len(x)) or real(layer, x, *rest))
    monkeypatch.setattr(kronecker, "LARGEST_TABLE", 2000)
    torch.testing.assert_close(kfac(objective, sharing).block_dense(), whole, atol=1e-15, rtol=1e-12)
    assert sum(batches) == 3 * 11 and 1 < max(batches) < 11  # three layers; the last batch may be of any size


def test_gradient_and_scatter_are_inverse_and_follow_the_layers_own_matrix() -> None:
    objective = named("images", "cross-entropy")
    theta, K = objective.parameters.vector(), kfac(objective)
    first, second, last = (layer.gradient(theta) for layer in K.layers)
    convolution, _, plain, _, linear = objective.model
    torch.testing.assert_close(first, torch.cat([convolution.weight.flatten(1), convolution.bias[:, None]], dim=1))
    torch.testing.assert_close(second, plain.weight.flatten(1))
    torch.testing.assert_close(last, torch.cat([linear.weight, linear.bias[:, None]], dim=1))
    back = torch.full_like(theta, torch.nan)
    for layer in K.layers:
        layer.scatter(layer.gradient(theta), back)
    assert torch.equal(back, theta)


def made_of(A: torch.Tensor, G: torch.Tensor) -> KroneckerLayer:
    return KroneckerLayer("layer", A, G, slice(0, len(A) * len(G)), None)


def test_damping_is_split_by_the_mean_eigenvalues() -> None:
    A, G = torch.diag(torch.tensor([1.0, 7.0], dtype=FP64)), torch.diag(torch.tensor([0.0, 0.5, 1.0], dtype=FP64))
    layer = made_of(A, G)  # mean eigenvalues 4 and 1/2: pi = sqrt 8
    assert layer.shifts(0.09) == pytest.approx((0.3 * 8**0.5, 0.3 / 8**0.5), rel=1e-14)
    damped = torch.kron(*reversed(layer.damped(0.09)))
    rest = damped - torch.kron(G, A) - 0.09 * torch.eye(6, dtype=FP64)
    assert torch.linalg.eigvalsh(rest)[0] >= -1e-15
    assert torch.equal(layer.inputs, A) and torch.equal(layer.outputs, G)  # made anew, not changed in place


@pytest.mark.parametrize("dead", ["inputs", "outputs", "both", "outputs underflow"])
def test_a_dead_layer_still_has_a_definite_block(dead: str) -> None:
    A, G = 3 * torch.eye(2, dtype=FP64), 5 * torch.eye(3, dtype=FP64)
    A = A * (dead not in ("inputs", "both"))
    G = G * {"outputs": 0, "both": 0, "outputs underflow": 1e-310}.get(dead, 1)
    layer = made_of(A, G)
    damped = torch.kron(*reversed(layer.damped(1e-2)))
    ratio = {"inputs": 1e-8, "both": 1.0}.get(dead, 1e8)
    assert layer.shifts(1e-2) == pytest.approx((0.1 * ratio, 0.1 / ratio), rel=1e-14)
    # what stands for a zero block is the damping itself, up to 1e-8 of the other factor
    torch.testing.assert_close(damped, 1e-2 * torch.eye(6, dtype=FP64), atol=1e-8, rtol=1e-6)


def test_a_network_with_a_dead_relu_layer_gives_a_finite_step() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        model[0].bias.fill_(-1e3)
    K = kfac(make_objective(model, (4,), "cross-entropy"))
    assert not K.layers[0].outputs.any()
    for layer in K.layers:
        for factor in layer.damped(1e-3):
            assert torch.isfinite(torch.linalg.cholesky(factor)).all()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class Elsewhere(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.layer(x)) + nn.functional.linear(x**2, self.layer.weight))


class Unused(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.layer(x)
        return self.last(x)


class Uncalled(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x)


class TimeFirst(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.layer(torch.stack([x, x.tanh()])).mean(dim=0))


class Centred(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.layer(x)
        return self.last(h - h.mean(dim=0))


class Scaled(nn.Linear):
    """Not what a Linear layer computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight**2, self.bias)


def shared() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3))
    model[2].weight = model[0].weight
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "called twice": (Twice, "layer.weight", "called 2 times"),
    "used elsewhere": (Elsewhere, "layer.weight", "outside its layer's own call"),
    "not in the outputs": (Unused, "layer.weight", "does not enter the outputs"),
    "never called": (Uncalled, "layer.weight", "called 0 times"),
    "shared by two layers": (shared, "0.weight", "same tensor as '2.weight'"),
    "time first": (TimeFirst, "layer.weight", "first axis"),
    "another forward": (lambda: Scaled(4, 3), "weight", "outside its layer's own call"),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), "1.weight", "LayerNorm"),
    "own parameter": (lambda: nn.Sequential(nn.Linear(4, 3), nn.PReLU()), "1.weight", "PReLU"),
    "weight norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
        "parametrizations",
        "is in a layer of type",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parameters_without_factors_are_refused_by_name(name: str) -> None:
    make, parameter, problem = REFUSED[name]
    torch.manual_seed(0)
    objective = make_objective(make(), (4,), "cross-entropy")
    with pytest.raises(UnsupportedModelError, match=problem) as caught:
        kfac(objective)
    assert parameter in str(caught.value) and "curvature='ggn'" in str(caught.value)


def test_an_embedding_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(6, 3)).double()
    objective = Objective(model, LOSSES["cross-entropy"], torch.randint(5, (8, 3)), torch.randint(3, (8,)))
    with pytest.raises(UnsupportedModelError, match=r"'0[.]weight' is in a layer of type Embedding"):
        kfac(objective)
    model[0].requires_grad_(False)  # the remedy
    inputs, targets = objective.inputs, objective.targets
    assert [layer.name for layer in kfac(Objective(model, LOSSES["cross-entropy"], inputs, targets)).layers] == ["2"]


def test_an_unknown_sharing_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match="expand, reduce"):
        kfac(named("vectors", "cross-entropy"), "both")


class ByName(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(input=torch.relu_(self.layer(input=x)))


class ByPlace(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.layer(x)))


def test_inputs_by_name_and_activations_in_place_change_nothing() -> None:
    blocks = []
    for model in (ByName, ByPlace):
        torch.manual_seed(0)
        blocks.append(kfac(make_objective(model(), (4,), "cross-entropy")).block_dense())
    assert torch.equal(*blocks)


def test_models_that_mix_the_examples_are_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(UnsupportedModelError, match="mixes the examples"):
        kfac(make_objective(Centred(), (4,), "cross-entropy"))
