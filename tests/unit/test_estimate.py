"""`qnewton estimate`: every solver, comparison and encoding is listed, with the numbers that predict() gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from qnewton_gpu import ClassicalMachine, CostModel, Hardware, LinearSystem, estimate_spectrum
from qnewton_gpu.backends import select_backend
from qnewton_gpu.cli import USAGE_ERROR, main
from qnewton_gpu.cli.estimate import encoding_costs
from qnewton_gpu.costs import COMPARISONS, calibration, jennings_queries
from qnewton_gpu.encodings import ENCODINGS
from qnewton_gpu.operators import as_operator
from qnewton_gpu.planning import simulator_rates
from qnewton_gpu.planning.estimate import solver_costs
from qnewton_gpu.planning.simulator_rates import REFERENCE, SimulatorRates
from qnewton_gpu.planning.simulators import SIMULATED_SOLVERS, simulators
from qnewton_gpu.planning.stated import stated_system
from qnewton_gpu.polynomials import inverse_degree, kernel_reflection_polynomial, round_up_to_grid
from qnewton_gpu.solvers import CLASSICAL, FORMULAS, QUANTUM, SOLVERS, make_predictor
from qnewton_gpu.solvers.cks import cks_orders

CPU = select_backend("cpu")
MATRIX = np.diag(np.linspace(1.0, 4.0, 16)) + 0.2 * (np.eye(16, k=1) + np.eye(16, k=-1))
GENERAL = MATRIX + np.eye(16, k=2)
SYMMETRIC_ENCODINGS = set(ENCODINGS) - {"gram", "kronecker", "toeplitz", "two_sided"}
OF_ANY_SQUARE = [name for name in SOLVERS if name not in ("cholesky", "saddle_free")]


def written(path: Path, A: np.ndarray) -> str:
    np.save(path, A)
    return str(path)


def table_below(printed: str, title: str) -> dict[str, dict[str, str]]:
    """{first cell: {head: cell}} of the table whose header line begins with `title`, or follows a line that does."""
    lines = printed.splitlines()
    rule = next(i for i, line in enumerate(lines) if re.fullmatch(r"-+(  -+)*", line)
                and any(line.startswith(title) for line in lines[i - 2 : i]))  # fmt: skip
    starts = [match.start() for match in re.finditer("-+", lines[rule])]

    def cells(line: str) -> list[str]:
        return [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]

    heads, rows = cells(lines[rule - 1]), {}
    for line in lines[rule + 1 :]:
        if not line.strip() or line.startswith("*") or ": " in line.split("  ")[0]:
            break
        row = cells(line)
        rows[row[0]] = dict(zip(heads, row, strict=True))
    return rows


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["estimate", *arguments]) == 0
    text: str = capsys.readouterr().out
    # the path of a file is as long as it is
    assert all(len(line) <= 120 for line in text.splitlines() if not (arguments and arguments[0] in line))
    return text


def data_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["estimate", *arguments, "--json", "-"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def served(data: dict[str, Any], comparison: str = "honest") -> set[str]:
    solvers = data["comparisons"][comparison]["solvers"]
    return {name for name, cost in solvers.items() if cost["projected_seconds"] is not None}


def system_of(A: np.ndarray, tolerance: float) -> LinearSystem:
    operator = as_operator(A, CPU)
    return LinearSystem(operator, np.ones((len(A), 1)), estimate_spectrum(operator, backend=CPU), tolerance)


def test_every_solver_stands_in_one_table_with_a_column_for_each_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["--size", "12544", "--kappa", "100", "--row-nonzeros", "64", "--gate-time", "1e-9"], capsys)
    rows = table_below(text, "projected seconds")
    assert set(rows) == {*SOLVERS, *FORMULAS}
    system, asked = stated_system(12544, 100, 64), CostModel(Hardware(1e-9))
    for name, comparison in COMPARISONS.items():
        head = f"{name} (an error)" if name == "released-code" else name
        costs = solver_costs(system, asked.under(name))
        for solver, row in rows.items():
            seconds = float(row[head].strip("()* s"))
            assert seconds == pytest.approx(costs[solver].seconds, rel=5e-3)
            assert row[head].startswith("(") == (solver not in comparison.candidates)
        winner = min(comparison.candidates, key=lambda solver: costs[solver].seconds)
        assert [solver for solver, row in rows.items() if row[head].endswith("*")] == [winner]
        assert re.search(rf"^{name} \(access .*\n(  [^ ].*\n)?  winner      {winner}, ", text, re.MULTILINE)
    assert "gate time: 8.31e-14 s instead of 1e-09 s -> from there on kernel_reflection wins" in text
    assert "kappa: 1.48e6 instead of 100 -> from there on lu wins" in text


@pytest.mark.parametrize("asked", COMPARISONS)
def test_the_comparison_that_was_asked_for_is_shown_with_the_others(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of(["--comparison", asked], capsys)
    assert set(data["comparisons"]) == {asked, "paper", "released-code", "honest"}
    assert data["comparisons"]["honest"]["quantum_machine"]["readout"] == "inverse"


def test_flags_of_the_machine_belong_to_the_comparison_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    data = data_of(["--access", "qrom", "--charge-readout", "copies"], capsys)["comparisons"]
    machines = {name: (c["quantum_machine"]["access"], c["quantum_machine"]["readout"]) for name, c in data.items()}
    assert machines == {"ideal": ("qrom", "copies"), "honest": ("qrom", "copies"), "paper": ("qram", "none"),
                        "released-code": ("qram", "none")}  # fmt: skip


@pytest.mark.parametrize(("kappa", "alpha", "epsilon"), [(128.0, 1.0, 1e-2), (16.0, 4.0, 1e-4)])
def test_queries_of_a_stated_system_are_those_of_the_theorems(
    kappa: float, alpha: float, epsilon: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """kappa alpha on the grid, so that nothing is rounded up; a stated system has its norm known."""
    covered = kappa * alpha
    assert round_up_to_grid(covered) == covered
    arguments = ["--kappa", str(kappa), "--alpha", str(alpha), "--tolerance", str(epsilon)]
    solvers = data_of(arguments, capsys)["comparisons"]["honest"]["solvers"]
    expected = {
        "qsvt": inverse_degree(covered, epsilon),
        "kernel_reflection": kernel_reflection_polynomial(covered, epsilon / (2 * np.sqrt(2))).degree,
        "cks": 2 * cks_orders(covered, epsilon)[1] + 1,
        "jennings": jennings_queries(kappa, alpha, epsilon),
        "jennings_released_code": alpha * jennings_queries(kappa, alpha, epsilon),
    }
    for name, queries in expected.items():
        assert solvers[name]["factors"]["queries"] == pytest.approx(queries)


def test_the_design_case_of_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """N = 12544, kappa 100, alpha 2, eps 1e-2, LU at 20 GFLOP/s: Jennings v1 breaks even at 3.3e-6 s."""
    machine = {"name": "slow", "cholesky_flops": 2e10, "lu_flops": 2e10, "bandwidth": 1e10}
    (tmp_path / "slow.json").write_text(json.dumps(machine))
    stated = ["--size", "12544", "--kappa", "100", "--alpha", "2", "--machine", str(tmp_path / "slow.json")]
    paper = data_of(stated, capsys)["comparisons"]["paper"]
    assert paper["solvers"]["jennings"]["break_even_gate_time"] == pytest.approx(3.3e-6, rel=0.1)
    (gate_time,) = (finding for finding in paper["findings"] if finding["assumption"] == "gate time")
    assert gate_time["value"] == pytest.approx(paper["solvers"]["jennings"]["break_even_gate_time"])


def test_a_larger_alpha_costs_every_quantum_solver_and_no_classical_one() -> None:
    near, far = (solver_costs(stated_system(256, 50.0, 8, a, 1e-3), CostModel()) for a in (1.0, 4.0))
    for name in QUANTUM:
        ratio = far[name].factors["queries"] / near[name].factors["queries"]
        assert 3.3 < ratio < 5.2, name  # CKS and the grid add logarithms
    assert all(near[name].seconds == far[name].seconds for name in CLASSICAL)


def test_every_solver_of_a_matrix_costs_what_it_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "A.npy", MATRIX)
    data = data_of([path, "--tolerance", "1e-3", "--encoding", "walk"], capsys)
    assert data["system"]["shape"] == [16, 16] and data["system"]["encoding"] == "walk"
    for name, found in data["comparisons"].items():
        model = CostModel().under(name)
        assert set(found["solvers"]) == {*SOLVERS, *FORMULAS}
        for solver, shown in found["solvers"].items():
            cost = make_predictor(solver, encoding="walk").predict(system_of(MATRIX, 1e-3), model, CPU)
            assert shown["projected_seconds"] == pytest.approx(cost.seconds)
            assert shown["factors"] == pytest.approx(cost.factors)
        best = [min(found["solvers"][s]["projected_seconds"] for s in found[f"{kind}_candidates"])
                for kind in ("quantum", "classical")]  # fmt: skip
        assert found["verdict"]["seconds"] == min(best)
        assert found["verdict"]["lead"] == pytest.approx(max(best) / min(best))


@pytest.mark.parametrize("kind", ["symmetric", "general"])
def test_every_encoding_that_serves_a_matrix_is_listed(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    A = MATRIX if kind == "symmetric" else GENERAL
    text = printed([written(tmp_path / "A.npy", A)], capsys)
    rows = table_below(text, "what every encoding")
    automatic = "dilation" if kind == "symmetric" else "two_sided"
    assert f"{automatic} (auto)" in rows
    rows = {name.removesuffix(" (auto)"): row for name, row in rows.items()}
    assert set(rows) == (SYMMETRIC_ENCODINGS if kind == "symmetric" else {*SYMMETRIC_ENCODINGS, "two_sided"})
    for access in ("T, qram", "T, qrom"):
        marked = {name for name, row in rows.items() if row[access].endswith("*")}
        counts = {name: float(row[access].removesuffix(" *")) for name, row in rows.items()}
        assert marked and all(counts[name] == min(counts.values()) for name in marked)
    norm = float(np.linalg.norm(A, 2))
    for name, row in rows.items():
        solver: Any = make_predictor("qsvt", encoding=name)
        method = solver.method(solver.pose(system_of(A, 1e-2)), CPU)
        encoding = method.encoding
        assert float(row["alpha"]) == pytest.approx(encoding.alpha, rel=1e-3) and encoding.alpha >= norm * (1 - 1e-9)
        assert float(row["alpha/norm"]) == pytest.approx(encoding.alpha / norm, rel=0.02)
        assert row["qubits + ancillas"] == f"{encoding.system_qubits} + {encoding.ancilla_qubits}"
        assert int(row["register"]) == encoding.register_size
        assert row["gates"] == ("yes" if name in ("matching", "banded", "dilation", "pauli") else "no")
        predicted = solver.predict(system_of(A, 1e-2), CostModel(), CPU).factors["queries"]
        assert int(row["qsvt queries"]) == method.queries(1e-2) == predicted
    assert float(rows["dilation"]["alpha/norm"]) <= min(float(row["alpha/norm"]) for row in rows.values())


def test_a_general_matrix_lists_the_solvers_that_serve_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert served(data_of([written(tmp_path / "A.npy", GENERAL)], capsys)) == {*OF_ANY_SQUARE, *FORMULAS}
    tall = written(tmp_path / "T.npy", GENERAL[:, :5])
    data = data_of([tall], capsys)
    assert served(data) == {"qsvt", "qsvt_uniform", "qsvt_pseudo_inverse", "cg", "qr"}
    assert {encoding["encoding"] for encoding in data["encodings"]} == {"two_sided"}
    assert data["comparisons"]["paper"]["verdict"] is None
    text = printed([tall], capsys)
    assert "winner      none: no candidate can serve this system" in text
    assert table_below(text, "projected seconds")["lu"]["honest"] == "-"


def test_a_complex_matrix_and_a_sparse_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hermitian = MATRIX + 0.1j * (np.eye(16, k=3) - np.eye(16, k=-3))
    data = data_of([written(tmp_path / "A.npy", hermitian)], capsys)
    assert data["system"]["shape"] == [32, 32] and served(data) == {*SOLVERS, *FORMULAS}
    sp.save_npz(tmp_path / "A.npz", sp.csr_array(MATRIX))
    data = data_of([str(tmp_path / "A.npz")], capsys)
    assert data["system"]["nonzeros"] == 46 and served(data) == {*SOLVERS, *FORMULAS}


def test_an_indefinite_matrix_has_neither_cholesky_nor_cg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    indefinite = MATRIX - 2.5 * np.eye(16)
    data = data_of([written(tmp_path / "A.npy", indefinite)], capsys)
    assert served(data) == {*QUANTUM, *FORMULAS, "lu", "qr"}


def test_nothing_is_solved_or_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnewton_gpu.simulation.runs.run_sequences", lambda *_: pytest.fail("ran a circuit"))
    monkeypatch.setattr("qnewton_gpu.solvers.qsvt.phases_for", lambda *_: pytest.fail("made phases"))
    system = system_of(MATRIX, 1e-3)
    assert all(cost.finite for cost in solver_costs(system, CostModel()).values())
    assert "walk" in {encoding["encoding"] for encoding in encoding_costs(system, 1e-3)}


def test_gate_programs_too_large_to_be_made_are_not_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A dense matrix of order 200 has so many Pauli strings that preparing them would take 32 GiB."""
    dense = np.random.default_rng(0).standard_normal((200, 200))
    path = written(tmp_path / "A.npy", dense @ dense.T / 200 + np.eye(200))
    rows = table_below(printed([path], capsys), "what every encoding")
    assert rows["pauli"]["T, qrom"] == "-" and float(rows["pauli"]["T, qram"].removesuffix(" *")) > 0
    assert float(rows["walk (auto)"]["T, qrom"].removesuffix(" *")) > 0


def test_the_dilation_of_a_large_matrix_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    system = system_of(MATRIX, 1e-2)
    assert "dilation" in {encoding["encoding"] for encoding in encoding_costs(system, 1e-2)}
    monkeypatch.setattr("qnewton_gpu.cli.estimate.LARGEST_DILATED", 15)
    made = "qnewton_gpu.encodings.dilation.DilationEncoding.__init__"
    monkeypatch.setattr(made, lambda *_: pytest.fail("made an eigendecomposition"))
    assert {encoding["encoding"] for encoding in encoding_costs(system, 1e-2)} == SYMMETRIC_ENCODINGS - {"dilation"}


def test_factors_are_shown_once_for_comparisons_on_the_same_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert "factors" not in printed([], capsys)
    text = printed(["--factors", "--gate-time", "1e-9"], capsys)
    free, charged = table_below(text, "factors: ideal, paper, released-code"), table_below(text, "factors: honest")
    costs = solver_costs(stated_system(1024, 100, 8), CostModel(Hardware(1e-9)).honest())
    classical = min(costs[name].seconds for name in CLASSICAL)
    assert set(free) == set(charged) == {*QUANTUM, *FORMULAS}
    for name, row in charged.items():
        assert float(row["queries"]) == pytest.approx(costs[name].factors["queries"], rel=5e-3)
        assert float(row["readout"]) == pytest.approx(costs[name].factors["readout"], rel=5e-3)
        gate_time = float(row["break-even gate time"].removesuffix(" s"))
        assert gate_time == pytest.approx(1e-9 * classical / costs[name].seconds, rel=1e-2)
    assert "readout" not in next(iter(free.values()))
    assert re.search(r"^cg: .*products", text, re.MULTILINE)


def test_json_goes_to_a_file_beside_the_text_or_alone_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "costs.json"
    assert "projected seconds" in printed(["--json", str(file)], capsys)
    first, second = json.loads(file.read_text()), data_of([], capsys)
    for simulated in (*first["simulators"].values(), *second["simulators"].values()):
        for one in simulated if isinstance(simulated, list) else []:
            assert one.pop("available_bytes") > 0  # what is free changes
            one.pop("why")
    assert first == second
    assert main(["estimate", "--json", str(tmp_path / "nowhere" / "x.json")]) == USAGE_ERROR
    said = capsys.readouterr()
    assert said.err.startswith("qnewton estimate: error: --json: ") and not said.out


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--encoding", "wakl", "A"], "did you mean 'walk'?"),
        (["--encoding", "walk"], "--alpha"),
        (["--comparison", "papr"], "did you mean 'paper'?"),
        (["--machine", "referense"], "did you mean 'reference'?"),
        (["--row-nonzeros", "0"], "row_nonzeros: 0 is not a number between 1 and"),
        (["--alpha", "0.5"], "alpha: "),
        (["--kappa", "nan"], "kappa: "),
        (["--poisson", "x,3"], "--poisson: 'x,3' are no qubits of axes"),
        (["--poisson", "0,3"], "qubits: "),
        (["--poisson", "-4"], "--poisson: -4 qubits"),
        (["--poisson", "30,30"], "--poisson: 60 qubits"),
        (["--poisson", "4", "--kappa", "1e9"], "kappa: 1000000000.0 is not in (1, "),
        (["--poisson", "4", "--size", "12"], "Leave it or --size out"),
        (["--poisson", "4", "A"], "Leave it or MATRIX out"),
        (["--poisson", "4", "--tolerance", "2"], "tolerance: "),
        (["--bond-dimension", "0"], "bond_dimension: 0"),
    ],
)
def test_wrong_input_is_answered_before_anything_is_printed(
    arguments: list[str], fragment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "A.npy", MATRIX)
    assert main(["estimate", *(path if a == "A" else a for a in arguments)]) == USAGE_ERROR
    said = capsys.readouterr()
    assert fragment in said.err and not said.out


def test_an_encoding_that_cannot_serve_the_matrix_leaves_the_classical_solvers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of([written(tmp_path / "A.npy", MATRIX), "--encoding", "gram"], capsys)
    assert served(data) == set(CLASSICAL)


def test_estimates_wait_neither_for_torch_nor_for_matplotlib() -> None:
    script = (
        "import sys; from qnewton_gpu.cli import main; status = main(['estimate', '--size', '512']); "
        "slow = {'torch', 'matplotlib', 'scipy.fft', 'cupy', 'quimb', 'cotengra'}; "
        "print(sorted(slow & set(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_simulator_stands_in_a_table_for_each_solver(capsys: pytest.CaptureFixture[str]) -> None:
    stated = ["--size", "4096", "--kappa", "50", "--row-nonzeros", "5", "--bond-dimension", "16"]
    text = printed(stated, capsys)
    found = data_of(stated, capsys)["simulators"]
    assert found["clock"].startswith("simulated") and found["rates"]["name"] == "reference"
    for solver in SIMULATED_SOLVERS:
        rows = table_below(text, solver)
        assert list(rows) == [one["name"] for one in found[solver]]
        for one in simulators(stated_system(4096, 50.0, 5), solver, bond_dimension=16, rates=REFERENCE):
            row = rows[one.name]
            assert row["fits"] == ("yes" if one.holds else "no") and row["encoding"] == one.encoding
            if one.holds:
                assert float(row["simulated, predicted"].removeprefix("<= ").split()[0]) == pytest.approx(
                    one.simulated_seconds, rel=5e-3
                )
    assert text.count("recommended: subspace, the fastest exact one that fits") == len(SIMULATED_SOLVERS)
    assert "rates of another machine (--calibrate measures this one)" in " ".join(text.split())


def test_a_grid_of_two_to_the_forty_points_fits_a_chain_only(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["--poisson", "20,20", "--bond-dimension", "32"], capsys)
    rows = table_below(text, "qsvt ")
    assert {name for name, row in rows.items() if row["fits"] == "yes"} == {"tensornet:32"}
    assert "screened Poisson on 2^20 x 2^20 points" in text and "recommended: tensornet:32, the only one" in text
    data = data_of(["--poisson", "20,20", "--kappa", "30"], capsys)
    assert data["system"]["shape"] == [2**40, 2**40] and data["system"]["kappa"] == 30


def test_simulators_are_measured_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QNEWTON_CACHE_DIR", str(tmp_path))
    machine = ClassicalMachine("fake", 1e9, 1e9, 1e9, measured=True, measured_at=time.time())
    monkeypatch.setattr(calibration, "measure", lambda backend: machine)
    rates = replace(REFERENCE, name="here", measured=True, measured_at=time.time())
    made: list[str] = []

    def measure(backend: object) -> SimulatorRates:
        made.append("measured")
        return rates

    monkeypatch.setattr(simulator_rates, "measure_rates", measure)
    assert data_of([], capsys)["simulators"]["rates"]["name"] == "reference" and not made
    for option, times in (("--calibrate", 1), ("--calibrate", 1), ("--recalibrate", 2)):
        assert data_of([option], capsys)["simulators"]["rates"]["name"] == "here" and len(made) == times
    assert "predicted from rates measured" in " ".join(printed([], capsys).split())
