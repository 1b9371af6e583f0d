"""benchmarks/bench_peers.py without any peer: its case files, its limits, its checks, and the ratios of its tables."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MEMORY = 1 << 32


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    sys.path.insert(0, str(BENCHMARKS))  # as for a script that is run
    import bench_peers
    from peers import case, make_case, measure

    yield SimpleNamespace(table=bench_peers, case=case, make=make_case, measure=measure)
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def task(bench: Any) -> Any:
    return bench.measure.Task(3, 4.0, 1e-2)


@pytest.fixture(scope="module")
def system(bench: Any, task: Any) -> Any:
    return bench.make.make_case(task)


def through_gates(case: Any, encoding: str) -> np.ndarray:
    """x by the rule of the case file alone, in dense matrices."""
    encoded = case.encoded[encoding]
    prepare = np.kron(encoded.prepare, np.eye(2**encoded.qubits // len(encoded.prepare)))
    select = encoded.select if isinstance(encoded.select, np.ndarray) else encoded.select.toarray()
    flagged = np.arange(2**encoded.qubits) < case.size
    state = case.start(encoding)
    for k, phi in enumerate(encoded.first_phases):
        if k:
            state = prepare @ (select @ (prepare @ state))
        state = np.exp(np.where(flagged, 1j, -1j) * phi) * state
    return case.solution(encoding, state)


@pytest.mark.parametrize("encoding", ["dilation", "matching"])
def test_a_case_file_is_all_that_a_peer_needs(bench: Any, system: Any, tmp_path: Path, encoding: str) -> None:
    system.save(tmp_path / "case.npz")
    case = bench.case.Case.load(tmp_path / "case.npz")
    from peers.ours import VARIANTS

    x = through_gates(case, encoding)
    assert np.linalg.norm(case.matrix @ x - case.b) <= case.epsilon * np.linalg.norm(case.b)
    np.testing.assert_allclose(x, VARIANTS[f"{encoding}, fused"](case), rtol=0, atol=1e-10 * np.linalg.norm(x))
    # a phase between two PREP is one gate on the prepared projector, which is what peers run
    projector, prepare = case.prepared_projector(encoding), case.encoded[encoding].prepare
    np.testing.assert_allclose(prepare @ np.diag(np.eye(len(prepare))[0]) @ prepare, projector, atol=1e-14)


def test_a_solver_runs_in_a_process_of_its_own(bench: Any, task: Any, system: Any, tmp_path: Path) -> None:
    system.save(tmp_path / "case.npz")
    ran = bench.measure.run(bench.table.OURS, "walk, fused", task, tmp_path / "case.npz", 60.0, 1 << 34, 1)
    assert ran.status == "" and ran.seconds > 0 and ran.version.startswith("qnewton_gpu")
    (found,) = bench.measure.checked([ran], system)
    assert found.seconds == ran.seconds and found.residual <= task.epsilon


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("import time; time.sleep(60)", "> 0.5 s"),
        ("import numpy; numpy.linalg.svd(numpy.random.default_rng(0).standard_normal((4000, 4000)))", "> 0.5 s"),
        ("bytearray(1 << 40)", "out of memory"),
        ("import os; os.abort()", "crashed (SIGABRT)"),
        ("raise ValueError('of its own')", "failed: ValueError: of its own"),
        ("import a_module_that_does_not_exist", "not installed"),
    ],
)
def test_a_peer_that_hangs_or_dies_does_not_end_the_table(
    bench: Any, task: Any, system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, status: str
) -> None:
    system.save(tmp_path / "case.npz")
    package = tmp_path / "peers"
    package.mkdir()
    for name in ("__init__.py", "case.py", "run_case.py"):
        (package / name).write_text((BENCHMARKS / "peers" / name).read_text())
    (package / "odd.py").write_text(f"VERSION = ''\ndef solve(case):\n    {body}\nVARIANTS = {{'own, odd': solve}}\n")
    monkeypatch.setattr(bench.measure, "BENCHMARKS", tmp_path)
    odd = bench.measure.Solver("odd", "odd", Path(sys.executable), ("own, odd",), own=True)
    ran = bench.measure.run(odd, "own, odd", task, tmp_path / "case.npz", 0.5, MEMORY, 1)
    assert (ran.seconds, ran.status) == (None, status)


def test_an_absent_venv_is_said_so(bench: Any, task: Any, tmp_path: Path) -> None:
    absent = bench.measure.Solver("absent", "absent", tmp_path / "python", ("own, x",))
    assert bench.measure.run(absent, "own, x", task, tmp_path, 1.0, MEMORY, 1).status == "not installed"


def test_a_wrong_x_has_no_time(bench: Any, task: Any, system: Any) -> None:
    x = through_gates(system, "matching")
    run = bench.measure.Run(task, "ours", "matching, fused", 1.0, x=x)
    near = dataclasses.replace(run, solver="near", x=x * (1 + 1e-6))
    far = dataclasses.replace(run, solver="far", variant="own, far", x=1.5 * x)
    ours, other, wrong = bench.measure.checked([run, near, far], system)
    assert ours.seconds == 1.0
    assert other.seconds is None and other.status.startswith("another x")
    assert wrong.seconds is None and "residual" in wrong.status


def test_ratios_come_from_the_seconds_of_one_run(bench: Any, task: Any) -> None:
    def run(solver: str, variant: str, seconds: float | None, status: str = "") -> Any:
        return bench.measure.Run(task, solver, variant, seconds, status)

    runs = [
        run("ours", "matching, circuit", 0.5),
        run("ours", "walk, fused", 0.25),
        run("encoding", "matching, alone", 1e-6),
        run("qulacs", "matching, sparse gate", 4.0),
        run("lightning", "dilation, sparse gate", 3.0),
        run("Aer", "dilation, circuit", None, "> 60 s"),
        run("Qrisp", "own, inversion", None, "> 60 s"),
    ]
    _, rows = bench.table.ratios(runs, [task])
    assert dict(rows) == {
        "best peer is": "lightning (dilation, sparse gate)",
        "best peer : matching, circuit": "6",
        "best peer, matching : matching, circuit": "8",
        "best peer, as documented : matching, circuit": "> 120",
        "Qrisp : matching, circuit": "> 120",
        "best peer : walk, fused": "12",
        "best peer, as documented : walk, fused": "> 240",
    }
    header, lines = bench.table.times(runs, [task])
    page = bench.table.markdown([("simulated: seconds", header, lines)], ["A note."])
    assert "| qulacs | matching, sparse gate | 4 s |" in page and "A note." in page


def test_a_task_is_skipped_only_after_an_easier_one(bench: Any) -> None:
    easy, hard = bench.measure.Task(3, 10, 1e-2), bench.measure.Task(6, 10, 1e-3)
    assert easy.no_harder_than(hard) and not hard.no_harder_than(easy)
    assert not bench.measure.Task(3, 50, 1e-2).no_harder_than(hard)
