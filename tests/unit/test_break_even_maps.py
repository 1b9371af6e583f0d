"""The break-even maps of the report and of the example: what is drawn, and of which systems."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnewton_gpu import CostModel, Hardware
from qnewton_gpu.planning.break_even import break_even_map
from qnewton_gpu.report.log import RunLog
from qnewton_gpu.report.maps import LEVELS, NAMED, maps, maps_of_run, maps_svg, save_maps, stated_maps
from qnewton_gpu.report.style import SENTINELS

EXAMPLE = Path(__file__).parents[2] / "examples" / "when_would_a_quantum_computer_pay.py"
MODEL = CostModel(Hardware(1e-7))


def run_of(*systems: dict[str, Any], tolerance: float = 1e-3) -> RunLog:
    return RunLog({"tolerance": tolerance}, [{"step": 0, "systems": list(systems)}], MODEL)


def of_both(**options: Any) -> Any:
    stated: dict[str, Any] = {"row_nonzeros": 64, "alpha": 1.0, "tolerance": 1e-2, "points": 9, **options}
    return stated_maps([MODEL.under(name) for name in ("paper", "honest")], **stated)


def test_a_run_is_mapped_by_systems_like_its_own() -> None:
    sparse = {"size": 1210, "row_sparsity": 40, "kappa": 50.0, "polynomial_kappa": 100.0}
    found, places = maps_of_run(run_of(sparse, {**sparse, "kappa": 400.0, "polynomial_kappa": 600.0}))
    assert [one.model.comparison for one in found] == ["paper", "honest"]
    assert found[0].row_nonzeros == 40 and found[0].alpha == 1.75 and found[0].tolerance == 1e-3
    assert places == [(1210.0, 50.0), (1210.0, 400.0)]
    dense, _ = maps_of_run(run_of({"size": 90, "row_sparsity": 90, "kappa": 5.0}))
    assert dense[0].row_nonzeros is None and dense[0].alpha == 1.0


def test_axes_reach_to_the_systems_of_the_run_and_leave_out_what_has_no_kappa() -> None:
    log = run_of({"size": 3, "kappa": 1e9, "row_sparsity": 3}, {"size": 5, "kappa": None, "row_sparsity": 5})
    found, places = maps_of_run(log)
    assert places == [(3.0, 1e9)] and found[0].sizes[0] == 3 and found[0].kappas[-1] == pytest.approx(1e9)


def test_the_page_gets_a_map_in_its_own_colours() -> None:
    drawn = maps_svg(of_both(), [(1000.0, 10.0)])
    assert drawn.startswith("<svg") and len(drawn) < 80_000
    assert not any(sentinel in drawn for sentinel in SENTINELS.values()) and "var(--ink)" in drawn
    for word in ("1 ns", "1 fs", "stated", "paper: jennings against lu", "honest: best of 2 circuits", "order N (log)"):
        assert word in drawn
    assert set(re.findall(r'id="([^-"]+)', drawn)) == {"maps"}


def test_the_section_says_what_is_stated() -> None:
    section = maps(run_of({"size": 300, "row_sparsity": 9, "kappa": 40.0}))
    for word in ("projected", "9 entries a row", "tolerance 1.0e-03", "1e-07 s", "<figure"):
        assert word in section


@pytest.mark.parametrize("gate_time", [1e-24, 1e-12, 1e3])
def test_the_stated_gate_time_is_drawn_where_it_lies_in_the_map(gate_time: float, tmp_path: Path) -> None:
    model = CostModel(Hardware(gate_time)).honest()
    found = stated_maps([model], row_nonzeros=None, alpha=1.0, tolerance=1e-2, points=5)
    inside = found[0].gate_times.min() < gate_time < found[0].gate_times.max()
    # the line with its white border, in the panel alone
    assert maps_svg(found).count("stroke-width: 3.6") == inside
    save_maps(found, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_named_lines_are_among_the_levels() -> None:
    assert set(NAMED) <= set(LEVELS)


def test_the_example_prints_the_map_and_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "map.png"
    arguments = ["--row-nonzeros", "64", "--gate-time", "1e-9", "--plot", str(file)]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments])
    module = runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert file.stat().st_size > 10_000
    sizes, kappas, in_words = module["SIZES"], module["KAPPAS"], module["in_words"]
    tables = printed.split("\n\n")[1:3]
    for name, shown in zip(("paper", "honest"), tables, strict=True):
        model = CostModel(Hardware(1e-9)).under(name)
        gate_times = break_even_map(sizes, kappas, model, row_nonzeros=64).gate_times
        lines = shown.splitlines()
        assert lines[0].startswith(f"{name}: ")
        for line, row in zip(lines[2:], gate_times, strict=True):
            cells = re.findall(r"(\S+ [munpfa]?s)( \*)?", line)
            assert cells == [(in_words(seconds), " *" if seconds >= 1e-9 else "") for seconds in row]
    assert np.isclose(float(in_words(2.5e-8).split()[0]), 25) and in_words(1e-20) == "1.0e-20 s"
