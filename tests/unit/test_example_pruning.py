"""The example that shows what pruning costs: its table and verdict from made-up runs, and a short real one."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "examples" / "what_does_pruning_cost.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("what_does_pruning_cost", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def run(example, density: float, repair: str, accuracies: list[float], seconds: float) -> list:
    return [
        example.Step(density, repair, i, 0.5, a, 0.1, 12.0, 40, 30.0, 2.0, 77.0, seconds, 10 * seconds, 1e-3)
        for i, a in enumerate(accuracies, 1)
    ]


def test_the_verdict_compares_what_each_solver_spends_until_95_percent(example) -> None:
    exact = run(example, 1.0, "diagonal", [0.5, 0.96, 0.98], 4.0)
    fast = run(example, 0.5, "shift", [0.5, 0.91, 0.96], 1.0)
    never = run(example, 0.1, "diagonal", [0.5, 0.6, 0.7], 0.1)
    qram, qrom, lu = example.verdict([exact, fast, never])
    assert "QRAM" in qram and "exact 8.00e+00 s projected; 0.5 shift is 2.67 times as fast" in qram
    assert "QROM" in qrom and "0.5 shift is 2.67 times as fast" in qrom
    assert lu.startswith("LU") and "no pruned matrix is faster" in lu
    table = example.table([exact, fast, never]).splitlines()
    assert table[2].split()[:2] == ["exact", "2/2/3"] and "8.00e+00" in table[2]
    assert table[3].split()[:3] == ["0.5", "shift", "2/3/-"] and "3.00e+00" in table[3]
    assert table[4].split()[:3] == ["0.1", "diagonal", "-/-/-"] and table[4].split()[-1] == "-"
    assert example.verdict([never]) == []


@pytest.mark.parametrize("bad", [["--densities", "0.5,x"], ["--densities", "2"], ["--steps", "0"], ["--data", "cifar"]])
def test_bad_options_end_with_a_sentence(example, bad: list[str], capsys) -> None:
    with pytest.raises(SystemExit):
        example.main(["--steps", "1", *bad])
    assert "error:" in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run_writes_its_numbers_and_its_plot(example, tmp_path: Path, capsys) -> None:
    options = ["--steps", "2", "--hidden", "4", "--densities", "1,0.25"]
    example.main([*options, "--csv", str(tmp_path / "p.csv"), "--plot", str(tmp_path / "p.png")])
    assert "0.25 shift" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert [(r["density"], r["repair"], r["step"]) for r in rows] == [
        (density, repair, step)
        for density, repair in (("1.0", "diagonal"), ("0.25", "diagonal"), ("0.25", "shift"))
        for step in ("1", "2")
    ]
    exact, pruned = rows[:2], rows[2:]
    # equal up to the rounding of two factorisations of one matrix
    assert all(float(r["angle"]) < 1e-6 for r in exact) and all(float(r["angle"]) > 1 for r in pruned)
    assert all(int(r["row_nonzeros"]) <= 0.25 * 260 for r in pruned)
    for mine, other in zip(pruned[::2], exact[::2], strict=False):
        assert float(mine["qsvt_qrom_projected_seconds"]) < float(other["qsvt_qrom_projected_seconds"])
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
