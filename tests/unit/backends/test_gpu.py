"""What the GPU backend says without a GPU, what it brings to the host, and what its stand-ins stand for."""

from __future__ import annotations

import ast
import copy
import inspect
import logging
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from standins import cupy_standin, custatevec_standin
from standins.rehearsal import rehearse

import qnewton_gpu as qn
from qnewton_gpu import backends
from qnewton_gpu.backends import gpu, gpu_state_vector
from qnewton_gpu.errors import BackendUnavailableError

RECORD = cupy_standin.RECORD
LARGEST_TRANSFER = 4096  # bytes to the host in a step


# --- the stand-ins


@pytest.mark.parametrize("name", RECORD["custatevec"])
def test_a_stand_in_of_custatevec_has_the_parameters_of_the_real_function(name: str) -> None:
    assert list(inspect.signature(getattr(custatevec_standin, name)).parameters) == RECORD["custatevec"][name]


def test_every_custatevec_function_that_is_called_is_on_record() -> None:
    called = set()
    for module in (gpu, gpu_state_vector):
        for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("library", "self.backend.custatevec[0]"):
                called.add(node.attr)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("call", "self.backend.call_custatevec"):
                called.add(ast.literal_eval(node.args[0]))
    assert called == set(RECORD["custatevec"])


def test_the_constants_are_those_of_the_libraries() -> None:
    for name, value in RECORD["constants"].items():
        assert getattr(gpu_state_vector, name) == value


def test_what_is_used_of_cupy_exists() -> None:
    with rehearse() as backend:
        cuda = vars(backend.xp.cuda)
    assert set(cuda) <= {*RECORD["cupy.cuda"], "runtime"}
    assert {"begin_capture", "end_capture", "from_external", "synchronize", "use"} <= set(RECORD["cupy.cuda.Stream"])
    assert "launch" in RECORD["cupy.cuda.Graph"]
    cg = list(inspect.signature(cupy_standin._cg).parameters)
    assert set(cg) <= set(RECORD["cupyx.scipy.sparse.linalg.cg"])


def test_the_stand_in_is_as_strict_as_cupy() -> None:
    cupy = cupy_standin.modules()["cupy"]
    array = cupy.asarray(np.ones(3))
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(array)
    with pytest.raises(TypeError, match="Unsupported type"):
        array + np.ones(3)
    with pytest.raises(AttributeError):
        cupy.frombuffer_that_does_not_exist  # noqa: B018
    assert isinstance(array.sum(), cupy.ndarray) and np.isnan(cupy.empty(2).get()).all()
    before = cupy_standin.Transfers.to_host
    assert float(array.sum()) == 3.0 and cupy_standin.Transfers.to_host == before + 8


# --- what is said where something is missing


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget which backends were found, before and after."""
    caches = (gpu._libraries, backends._made, backends._best)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def fake_cupy(available: bool = True, count: int = 1) -> types.SimpleNamespace:
    runtime = types.SimpleNamespace(getDeviceCount=lambda: count)
    return types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: available, runtime=runtime))


@pytest.mark.parametrize(
    ("cupy", "torch_has_cuda", "name", "problem", "remedy"),
    [
        (None, True, "gpu", "CuPy cannot be imported", r"pip install \"qnewton-gpu\[cuda13\]\""),
        (fake_cupy(available=False), True, "gpu", "no NVIDIA GPU", 'backend="cpu"'),
        (fake_cupy(), False, "gpu", "torch .* is not built for CUDA", "Install torch for CUDA"),
        (fake_cupy(count=2), True, "gpu:2", "there is no GPU 2", '"gpu:0", "gpu:1"'),
    ],
)
@pytest.mark.usefixtures("fresh")
def test_a_gpu_that_cannot_be_used_says_what_is_missing_and_what_helps(
    cupy: Any, torch_has_cuda: bool, name: str, problem: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: torch_has_cuda)
    with pytest.raises(BackendUnavailableError, match=f"(?s){problem}.*{remedy}"):
        qn.select_backend(name)


@pytest.mark.usefixtures("fresh")
def test_auto_falls_back_to_the_cpu_with_one_log_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setenv(backends.VARIABLE, "auto")
    with caplog.at_level(logging.INFO, logger="qnewton_gpu"):
        assert qn.select_backend().name == qn.select_backend("auto").name == "cpu"
    (record,) = caplog.records
    assert "the CPU, because CuPy cannot be imported" in record.getMessage()


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with rehearse() as backend:
        monkeypatch.delenv(backends.VARIABLE)
        assert qn.select_backend("auto") is backend
        monkeypatch.setenv(backends.VARIABLE, "cpu")
        assert qn.select_backend("auto").name == "cpu"
        monkeypatch.setenv(backends.VARIABLE, "gpu:0")
        assert qn.select_backend("auto").name == "gpu"


def test_without_custatevec_only_circuits_are_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    with rehearse() as backend:
        monkeypatch.setitem(sys.modules, "cuquantum.bindings.custatevec", None)
        H, b = np.diag([1.0, 2.0, 3.0]), np.ones(3)
        assert qn.solve(H, b, solver="qsvt", encoding="matching", mode="fused", backend=backend).solved
        with pytest.raises(BackendUnavailableError, match=r"cuStateVec cannot be used .*qnewton-gpu\[cuda13\]"):
            qn.solve(H, b, solver="qsvt", encoding="matching", mode="circuit", backend=backend)


def test_copies_of_what_holds_a_backend_share_it() -> None:
    with rehearse() as backend:
        scheduler = qn.Scheduler(backend=backend)
        for copied in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
            assert copied.backend is backend


def test_one_process_computes_on_one_gpu() -> None:
    with rehearse(), pytest.raises(BackendUnavailableError, match=r"computes on GPU 0 already\. Use one process"):
        gpu._libraries.cache_clear()
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(sys.modules["cupy"].cuda.runtime, "getDeviceCount", lambda: 2)
            qn.select_backend("gpu:1")


def test_memory_that_runs_out_inside_custatevec_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory, as told")

    H, b = np.diag([1.0, 2.0, 3.0]) + 0.1, np.ones(3)
    with rehearse() as backend:
        real = type(backend)._workspace
        monkeypatch.setattr(custatevec_standin, "_take_workspace", lambda handle: real_workspace(handle))

        def real_workspace(handle: int) -> None:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(torch.cuda, "caching_allocator_alloc", exhausted)
                try:
                    real(backend, 64, 0)
                except Exception:
                    raise custatevec_standin.cuStateVecError("status 11") from None

        solution = qn.solve(H, b, solver="qsvt", encoding="matching", mode="circuit", backend=backend)
    assert solution.status.name == "NO_MEMORY" and "as told" in solution.message
    assert "mode='subspace' needs" in solution.message


def test_an_operator_stays_on_the_backend_it_was_made_on() -> None:
    with rehearse() as backend:
        A = qn.GramOperator(np.eye(3), 0.5, backend)
        assert qn.solve(A, np.ones(3), solver="qsvt").solved
        with pytest.raises(qn.errors.CombinationError, match="was made on"):
            qn.solve(A, np.ones(3), backend="cpu")


# --- what comes to the host


def one_step(backend: Any, curvature: str, mode: str, partition: str = "network") -> tuple[Any, Any]:
    """A QNewton on the device after a first step, and its batch."""
    device, generator = backend.torch_device, torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 12), torch.nn.Tanh(), torch.nn.Linear(12, 5)).double().to(device)
    x = torch.randn(64, 20, generator=generator, dtype=torch.float64).to(device)
    y = torch.randint(5, (64,), generator=generator).to(device)
    scheduler = qn.Scheduler(solver="qsvt", mode=mode, backend=backend)
    optimizer = qn.QNewton(model, torch.nn.CrossEntropyLoss(), curvature=curvature, partition=partition,
                           scheduler=scheduler, damping=1.0)  # fmt: skip
    optimizer.step(x, y)
    return optimizer, (x, y)


STEPS = [
    (curvature, mode, partition)
    for curvature in ("ggn", "hessian")
    for mode in ("subspace", "auto")
    for partition in ("network", "layer")
]
STEPS += [("kfac", "subspace", "layer")]


@pytest.mark.parametrize(("curvature", "mode", "partition"), [s for s in STEPS if s[:2] != ("ggn", "auto")])
def test_a_step_brings_only_scalars_to_the_host_in_the_rehearsal(curvature: str, mode: str, partition: str) -> None:
    with rehearse() as backend:
        optimizer, batch = one_step(backend, curvature, mode, partition)
        before = cupy_standin.Transfers.to_host
        report = optimizer.step(*batch)
        brought = cupy_standin.Transfers.to_host - before
    assert report.accepted and report.systems[0]["queries"] > 0
    assert report.systems[0]["mode"] == ("fused" if mode == "auto" else mode)
    print(f"{curvature}, {mode}, {partition}: {brought} bytes to the host in a step")
    assert 0 < brought <= LARGEST_TRANSFER


@pytest.mark.gpu
@pytest.mark.parametrize(("curvature", "mode", "partition"), STEPS)
def test_a_step_brings_only_scalars_to_the_host(gpu: Any, curvature: str, mode: str, partition: str) -> None:
    """Counted by the profiler: every copy from the device, whoever made it."""
    optimizer, batch = one_step(gpu, curvature, mode, partition)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        report = optimizer.step(*batch)
        gpu.synchronize()
    assert report.accepted
    copies = [e for e in profile.profiler.kineto_results.events() if "Memcpy DtoH" in e.name()]
    brought = sum(e.nbytes() for e in copies)
    print(f"{curvature}, {mode}, {partition}: {brought} bytes in {len(copies)} copies to the host in a step")
    assert copies and brought <= LARGEST_TRANSFER


@pytest.mark.gpu
def test_torch_and_cupy_share_memory_and_stream(gpu: Any) -> None:
    before = torch.cuda.memory_allocated(gpu.index)
    array = gpu.xp.zeros(2**20)
    assert torch.cuda.memory_allocated(gpu.index) >= before + 8 * 2**20
    assert gpu.to_torch(array).data_ptr() == array.data.ptr
    assert gpu.xp.cuda.get_current_stream().ptr == torch.cuda.current_stream(gpu.index).cuda_stream


@pytest.mark.gpu
def test_memory_that_is_not_there_is_a_status_on_a_real_device(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(gpu), "available_bytes", lambda self: 2**60)  # so that the prediction lets it pass
    H = qn.operators.as_operator(np.diag(np.linspace(1, 2, 4096)) + 1e-4, gpu)
    columns = gpu.xp.ones((4096, 2000))
    solution = qn.solve(H, columns, solver="qsvt", encoding="walk", mode="fused", backend=gpu)
    assert solution.status.name == "NO_MEMORY" and "mode='subspace' needs" in solution.message
    assert qn.solve(H, columns[:, 0], solver="qsvt", encoding="walk", mode="fused", backend=gpu).solved
