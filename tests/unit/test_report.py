"""The report of a run: whole without a network, honest about its clocks, and calm about whatever a log may hold."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from qnewton_gpu.errors import RunFolderError
from qnewton_gpu.report import build_report
from qnewton_gpu.report.log import RunLog, thin
from qnewton_gpu.runfolder import CONFIG, REPORT, STEPS, TIMELINE, RunFolder, to_json
from qnewton_gpu.training import TrainConfig, Training

VOID = {"meta", "br", "link", "img"}


def a_cost(solver: str, seconds: float | None, honest: bool) -> dict[str, Any]:
    factors: dict[str, Any] = {"flops": 1e9, "flops_per_second": 1e11, "assembly_seconds": 0.1 if honest else 0.0}
    if solver == "qsvt":
        factors = {
            "rounds": 1.0, "columns": 1.0, "repetitions": 9, "readout": 121000.0 if honest else 1.0, "queries": 35.0,
            "depth": 104.9, "preparation": 104.9 if honest else 0.0, "gate_time": 1e-7, "success_probability": 0.03,
        }  # fmt: skip
    return {"projected_seconds": seconds, "factors": factors}


def a_system(step: int, name: str = "network", **changes: Any) -> dict[str, Any]:
    qsvt, solver = 3e-3 * 1.5**step, "qsvt" if step < 3 else "lu"
    seconds = {"qsvt": qsvt, "cholesky": 6e-3, "lu": 1.2e-2, "cg": qsvt / 3}
    return {
        "name": name, "size": 1210, "columns": 1, "row_sparsity": 1210,
        "kappa": 8.0 * 1.8**step, "kappa_certified": True,
        "conditioning": [], "solver": solver, "status": "solved", "message": "The relative residual is small.",
        "planned_by": solver, "margin": 3.6,
        "reason": f"{solver} 3.30e-03 s against another 1.18e-02 s, projected, ideal comparison", "fallbacks": [],
        "encoding": "gram" if solver == "qsvt" else None, "mode": "subspace", "alpha": 2.0, "polynomial_kappa": 6.4,
        "polynomial_kappa_on_grid": 6.7, "degree": 35 if solver == "qsvt" else None,
        "queries": 35 if solver == "qsvt" else 0, "success_probability": 0.026 if solver == "qsvt" else None,
        "readout": "exact" if solver == "qsvt" else None,
        "tolerance": 1e-2, "relative_residual": 6e-3,
        "ledger": {"polynomial": 9e-3, "phases": 4e-15, "arithmetic": 5e-15, "readout": 0.0, "residual": 6e-3},
        "simulated_seconds": 0.04, "projected_seconds": seconds[solver], "predicted_seconds": seconds[solver],
        "classical_predicted_seconds": seconds[solver] if solver == "lu" else None,
        "predicted": {name: a_cost(name, value, False) for name, value in seconds.items()},
        "honest_solver": "cg",
        "honest_predicted": {name: a_cost(name, value * 40, True) for name, value in seconds.items()},
        "break_even_gate_time": 3.6e-7 / 1.5**step, "honest_break_even_gate_time": 2.6e-13,
        **changes,
    }  # fmt: skip


def a_step(step: int, systems: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    began = 1.7953567e9 + 0.2 * step
    stages = [("gradient", 0.0, 0.01, 0), ("solve", 0.02, 0.1, 0), ("verify", 0.05, 0.02, 1), ("update", 0.12, 0.01, 0)]
    return {
        "step": step, "loss": 2.0 * 0.8**step, "loss_before": 2.5 * 0.8**step, "accuracy": 1 - 0.8 ** (step + 2),
        "damping": 0.1 * 0.5**step, "next_damping": 0.05 * 0.5**step, "accepted": True, "reduction_ratio": 0.8,
        "gradient_norm": 0.4, "simulated_seconds": 0.14, "systems": [a_system(step)] if systems is None else systems,
        "schedule": {
            "rule": "makespan", "machines": ["quantum"], "projected_seconds": 3e-3, "paper_rule_seconds": 3e-3,
            "lower_bound": 1.5e-3, "method": "fastest",
        },
        "stages": [
            {"name": name, "start": began + start, "seconds": seconds, "depth": depth, "failed": False}
            for name, start, seconds, depth in stages
        ],
        **changes,
    }  # fmt: skip


class Page(HTMLParser):
    """What a page shows: its tags (all closed), its text, its tables as lists of rows."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.text.append(data.strip())


@pytest.fixture
def report(tmp_path: Path) -> Any:
    """Writes a log, builds its report, and returns the source of the page and the trace."""

    def build(steps: list[dict[str, Any]], **config: Any) -> tuple[str, dict[str, Any]]:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / CONFIG).write_text(json.dumps({**TrainConfig().to_dict(), **config}))
        (folder / STEPS).write_text("".join(to_json(step) + "\n" for step in steps))
        return built(folder)

    return build


def built(folder: Path) -> tuple[str, dict[str, Any]]:
    build_report(RunFolder.open(folder))
    source = (folder / REPORT).read_text(encoding="utf-8")
    trace = json.loads((folder / TIMELINE).read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    check_page(source)
    check_trace(trace)
    return source, trace


def check_page(source: str) -> None:
    """What holds of every page: nothing from elsewhere, well formed, no stray values, ids once, clocks named."""
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link|<img|<iframe", source)
    page = Page(source)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    referred = re.findall(r'(?:url\(|href=")#([^")]+)', source)
    assert set(referred) <= set(ids)
    assert not {"None", "nan", "inf", "null", "NaN"} & set(re.findall(r"[A-Za-z]+", " ".join(page.text)))
    assert not re.search(r"#0101[0-9a-f]{2}", source), "a colour of the palette was left unnamed"
    for header in re.findall(r"<th[^>]*>(.*?)</th>", source):
        if re.search(r"seconds|(?:\b|>)s\b", re.sub(r"<[^>]*>", ">", header)):
            assert re.search("projected|simulated|stated", header), header
    for label in re.findall(r"<text[^>]*>([^<]*)</text>", source):
        if re.search(r"seconds|\d s\b|\(s\b", label):
            assert re.search("projected|simulated|stated", label), label
    for tile in re.findall(r'<div class="tile">(.*?)</div>', source):
        assert not re.search(r"\d s<", tile) or re.search(r'class="clock (?:projected|simulated)"', tile), tile
    for cell in re.findall(r"<td[^>]*>(.*?)</td>", source):
        assert not re.search(r"\d s\b", cell) or re.search("projected|simulated", cell), cell


def check_trace(trace: dict[str, Any]) -> None:
    """What Perfetto asks of a trace: known phases, times that never go back, slices of a track that nest."""
    events = trace["traceEvents"]
    assert {"process_name", "thread_name"} <= {event["name"] for event in events if event["ph"] == "M"}
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)
    for event in events:
        assert event["ph"] in "XCM" and isinstance(event["name"], str) and isinstance(event["pid"], int)
        assert event["ts"] >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, float | int) for value in event["args"].values())
    for track in (1, 2):
        ends: list[int] = []
        for event in (event for event in events if event["ph"] == "X" and event["tid"] == track):
            start, end = round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000)
            while ends and ends[-1] <= start:
                ends.pop()
            assert start <= end and (not ends or end <= ends[-1]), event
            assert track == 2 or not ends, "steps follow one another"
            ends.append(end)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "real"
    Training(TrainConfig(hidden=(8,), partition="layer", steps=2), None, out=folder).run()
    return folder


def test_a_real_run(real: Path) -> None:
    source, trace = built(real)
    steps = RunFolder.open(real).steps()
    # what is tested here on made-up logs is what a run really logs
    assert set(steps[0]) == set(a_step(0)) and set(steps[0]["systems"][0]) == set(a_system(0))
    for system in (system for step in steps for system in step["systems"]):
        assert system["reason"] in source
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in slices if event["tid"] == 1] == ["step 1", "step 2"]
    assert sum(event["tid"] >= 2 for event in slices) == sum(len(step["stages"]) for step in steps)
    first = [logged for logged in steps[0]["stages"] if logged["track"] == 0]
    for event, logged in zip((e for e in slices if e["tid"] == 2), first, strict=False):
        assert event["dur"] == pytest.approx(1e6 * logged["seconds"], abs=1)


def test_a_run_factor_by_factor_counts_the_parameters_of_its_layers(tmp_path: Path) -> None:
    folder = tmp_path / "kfac"
    Training(TrainConfig(hidden=(8,), curvature="kfac", steps=1), None, out=folder).run()
    source, _ = built(folder)
    assert "two for each layer" in source and f"{65 * 8 + 9 * 10:,} parameters" in source


def test_a_stage_of_the_timeline_says_what_the_log_knows_of_it(report: Any) -> None:
    step = a_step(0)
    step["stages"][1] |= {"category": "layer1", "device_seconds": 0.09, "host_bytes": 24}
    step["stages"][2] |= {"category": None, "device_seconds": None, "host_bytes": 0, "failed": True}
    _, trace = report([step])
    arguments = {event["name"]: event["args"] for event in trace["traceEvents"] if event.get("tid") == 2}
    assert arguments["solve"] == {"category": "layer1", "device_seconds": 0.09, "host_bytes": 24}
    assert arguments["verify"] == {"failed": True} and arguments["gradient"] == {}


def test_a_truncated_register_is_said(report: Any) -> None:
    chain = a_system(0, mode="circuit", bond_dimension=16, truncation_error=2.5e-7)
    source, _ = report([{**a_step(0), "systems": [chain]}])
    assert "bond 16, at most 2.5e-07 truncated" in source
    assert "truncated" not in report([a_step(0)])[0]


SHOTS = {"readout": "shots", "rounds": 2, "runs": 18_700_000, "preparations": 484_000, "solver": "qsvt"}


@pytest.mark.parametrize("exact_seconds", [2e-3, None])
def test_what_shots_cost_is_said_beside_exact_readout(exact_seconds: float | None, report: Any) -> None:
    config = {"readout": {"kind": "shots", "shots_per_unknown": 100, "seed": 0}}
    read = a_system(0, **SHOTS, projected_seconds=350.0, exact_readout_seconds=exact_seconds)
    source, _ = report([a_step(0, [read, a_system(4)])], **config)
    page = Page(source)
    text = " ".join(page.text)
    assert "What the shots cost" in text and "100 shots an unknown" in text
    assert "1 solution took 1.87e+07 runs of circuits, 484,000 of them successful" in text
    if exact_seconds is not None:
        assert "350 s projected, against 0.002 s if" in text and "175,000 times as much" in text
    rows = [line for line in source.splitlines() if "1.87e+07" in line and "<tr" in line]
    assert len(rows) == 1  # the classical system took no shots


def test_exact_readout_says_so_and_has_no_section_on_shots(report: Any) -> None:
    source, _ = report([a_step(0)])
    assert "What the shots cost" not in source and "exact amplitudes of the simulation" in source


def test_the_two_clocks_and_every_part_are_there(report: Any) -> None:
    source, _ = report([a_step(step) for step in range(6)])
    text = " ".join(Page(source).text)
    for heading in (
        "How it learned", "How hard the systems were", "Which solver each system got, and why", "stated machines",
        "on its own machine", "When a quantum computer would pay", "What is assumed, what is measured", "Error ledger",
    ):  # fmt: skip
        assert heading in text
    assert source.count("<svg") == 7
    for assumption in TrainConfig().hardware.assumptions() + TrainConfig().hardware.honest().assumptions():
        assert assumption in text
    assert TrainConfig().classical.source in text
    for number in ("121,000", "104.9", "9.00e-03", "4.00e-15"):
        assert number in text
    assert "prefers-color-scheme:dark" in source


def test_it_is_the_same_every_time_and_rewrites_itself(report: Any) -> None:
    steps = [a_step(step) for step in range(3)]
    assert report(steps) == report(steps)


def test_no_step_yet(report: Any) -> None:
    source, trace = report([])
    assert "No step was finished" in source and "What is assumed" in source and "<svg" not in source
    assert not [event for event in trace["traceEvents"] if event["ph"] != "M"]


def test_one_step(report: Any) -> None:
    source, _ = report([a_step(0)])
    assert "1 linear system," in source and source.count("<svg") == 7


def test_a_step_without_systems_or_stages(report: Any) -> None:
    source, trace = report([a_step(0, systems=[], stages=[]), a_step(1, systems=[], stages=[])])
    assert "no linear system" in source
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [event["ts"] for event in slices] == [0, 140000]


def test_only_rejected_steps(report: Any) -> None:
    steps = [a_step(step, accepted=False, loss=2.5, loss_before=2.5, accuracy=0.1) for step in range(4)]
    source, _ = report(steps)
    assert "Every step was rejected" in source and "rejected, parameters kept" in source and "4 rejected" in source
    assert "not reached" in source


def test_null_values(report: Any) -> None:
    nothing = {
        name: None
        for name, value in a_system(0).items()
        if isinstance(value, float) or name in ("degree", "queries", "encoding", "honest_solver", "ledger")
    }
    unreachable = {name: a_cost(name, None, False) for name in ("qsvt", "cholesky", "lu", "cg")}
    failed = a_system(1, **nothing, status="singular", predicted=unreachable, honest_predicted=unreachable)
    half = a_system(2, kappa=None, break_even_gate_time=0.0, honest_break_even_gate_time=None)
    source, trace = report(
        [a_step(0), a_step(1, [failed], reduction_ratio=None, loss=None, accuracy=None), a_step(2, [half])]
    )
    assert "Not solved, singular:" in source and "∞" in source
    assert "kappa infinite" in json.dumps(trace)
    report([a_step(0, [failed], loss=None, loss_before=None, accuracy=None, damping=None, simulated_seconds=None)])
    report([a_step(0, [{"name": "bare"}])])


def test_fallbacks_stand_out(report: Any) -> None:
    note = "qsvt ended not converged (The residual stayed at 3e-2.), so cholesky was tried"
    source, _ = report([a_step(0), a_step(1, [a_system(1, solver="cholesky", fallbacks=[note])])])
    row = next(row for row in re.findall(r"<tr.*?</tr>", source, re.DOTALL) if note in row)
    assert row.startswith('<tr class="trouble">')
    assert "1 system needed a fallback" in source


def test_systems_that_were_checked_in_a_second_mode(report: Any) -> None:
    checks = [
        {"mode": "fused", "relative_difference": 2.5e-14, "simulated_seconds": 1.0},
        {"mode": "fused", "skipped": "mode: needs 9 GiB & more."},
        {"mode": "subspace", "relative_difference": None},
    ]
    source, _ = report([a_step(i, [a_system(i, cross_check=check)]) for i, check in enumerate(checks)])
    assert "checked in fused: x differs by 2.5e-14" in source
    assert "checked in fused: skipped: mode: needs 9 GiB &amp; more." in source
    assert "checked in subspace: x differs by more than a number" in source


def test_a_solver_that_was_asked_for_and_one_that_is_new(report: Any) -> None:
    source, _ = report([a_step(0, [a_system(0, solver="hhl")])], solver="hhl", comparison="honest")
    assert "as the user asked" in source and ">hhl<" in source and "Paper comparison" not in source


def test_everything_is_escaped(report: Any) -> None:
    evil = '<script>alert("x")</script>&$\\alpha$]]>'
    system = {name: evil for name in ("name", "solver", "encoding", "mode", "reason", "message", "status")}
    changed = a_system(0, **system, fallbacks=[evil], conditioning=[evil], honest_solver=evil)
    changed["predicted"][evil] = a_cost("qsvt", 1.0, False)
    planned = a_system(1, planned_by=evil, conditioning=[evil, evil])
    shared = {**a_step(2)["schedule"], "rule": evil, "method": evil, "machines": [evil, evil]}
    steps = [a_step(0, [changed]), a_step(1), a_step(2, [planned, changed], schedule=shared)]
    source, _ = report(steps, data=evil, curvature=evil, partition=evil, backend=evil, schedule=evil)
    assert "<script" not in source and "&lt;script&gt;" in source


def test_many_systems_in_a_step(report: Any) -> None:
    steps = [a_step(n, [a_system(n, f"layer {i}", kappa=4.0 + i) for i in range(40)]) for n in range(5)]
    source, _ = report(steps)
    assert "100 of 200 systems are shown" in source and "those that end highest and lowest are named" in source


def test_many_steps_are_thinned_and_fast(report: Any) -> None:
    steps = [a_step(n, []) for n in range(1500)]
    for n, step in enumerate(steps):
        step |= {"loss": 2.0 / (n + 1), "loss_before": 2.0, "accuracy": 0.5, "damping": 0.1}
        step["systems"] = [a_system(n % 12, fallbacks=["it failed"] if n == 1234 else [])]
    began = time.perf_counter()
    source, _ = report(steps)
    assert time.perf_counter() - began < 10, "far above what it takes, for a busy machine"
    assert "100 of 1,500 systems are shown" in source and "mean of 25 steps" in source and "thinned to" in source
    assert "it failed" in source and len(source) < 1.5e6


def test_torn_and_foreign_lines(report: Any, tmp_path: Path) -> None:
    report([a_step(0)])
    with (tmp_path / "run" / STEPS).open("a") as file:
        file.write('7\n{"other": 1}\n{"step": 1, "lo')
    source, _ = built(tmp_path / "run")
    assert "1 of 10" in source


def test_a_clock_that_was_set_back_and_stages_that_overlap_by_rounding(report: Any) -> None:
    later = a_step(1)
    for stage in later["stages"]:
        stage["start"] -= 500.0
    overlapping = a_step(2)
    overlapping["stages"][1]["start"] = overlapping["stages"][0]["start"] + 0.0099997
    overlapping["stages"][2]["seconds"] = 0.5
    _, trace = report([a_step(0), later, overlapping])
    assert sum(event["ph"] == "X" for event in trace["traceEvents"]) == 15


def test_the_time_of_a_stage_is_counted_once(report: Any, tmp_path: Path) -> None:
    report([a_step(0)])
    spent = RunLog.read(RunFolder.open(tmp_path / "run")).stage_seconds()[0]
    assert spent["solve"] == pytest.approx(0.08) and spent["verify"] == pytest.approx(0.02)


def test_a_config_of_another_version(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text("{}")
    with pytest.raises(RunFolderError, match="not one of this version"):
        build_report(RunFolder.open(tmp_path))


@pytest.mark.parametrize("length", [1, 7, 100, 101, 5000])
def test_thin_keeps_ends_order_and_what_is_important(length: int) -> None:
    kept = thin(range(length), 100, lambda row: row == 37)
    assert len(kept) == min(length, 100) and kept == sorted(set(kept))
    assert kept[0] == 0 and kept[-1] == length - 1 and (length < 38 or 37 in kept)
