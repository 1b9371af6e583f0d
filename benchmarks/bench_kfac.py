"""K-FAC through quantum factors against K-FAC through Cholesky: writes results/kfac.md.

.venv/bin/python benchmarks/bench_kfac.py
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from common import machine

from qnewton_gpu.data import load_data
from qnewton_gpu.errors import MissingDataError
from qnewton_gpu.training import TrainConfig, Training

RESULTS = Path(__file__).parent / "results"
SEEDS, LEVELS = range(5), (0.90, 0.95, 0.97)
TIGHT = 1e-6
Line = dict[str, Any]


@cache
def run(**options: Any) -> list[Line]:
    """The log of a training in memory's own folder."""
    with tempfile.TemporaryDirectory() as folder:
        return Training(TrainConfig(**options), None, Path(folder) / "run").run()


def reached(lines: list[Line]) -> str:
    """Steps to 90 / 95 / 97 % test accuracy."""
    found = (next((str(one["step"] + 1) for one in lines if one["accuracy"] >= level), "-") for level in LEVELS)
    return " / ".join(found)


def difference(one: list[Line], two: list[Line]) -> float:
    """The largest relative difference of the losses of two runs, over all steps."""
    return max(abs(a["loss"] - b["loss"]) / b["loss"] for a, b in zip(one, two, strict=True))


def residual(lines: list[Line]) -> float:
    """The largest relative residual of a layer's step."""
    return max(s["block"]["relative_residual"] for line in lines for s in line["systems"])


def total(lines: list[Line], field: str) -> Any:
    """The sum of a field over all systems of all steps."""
    return sum(s[field] for line in lines for s in line["systems"])


def named(line: Line, field: str, form: str = "") -> str:
    """A field of every system of a step, in the order of the systems."""
    return ", ".join(format(s[field], form) for s in line["systems"])


def markdown(header: list[str], rows: list[list[Any]]) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [header, ["---"] * len(header), *rows])


def kfac(**options: Any) -> tuple[list[Line], list[Line]]:
    """The same training through exactly simulated circuits, and through Cholesky."""
    options["curvature"] = "kfac"
    return run(solver="qsvt", **options), run(solver="cholesky", **options)


def curves() -> str:
    rows = []
    quantum, classical = kfac(seed=0)
    tight, _ = kfac(seed=0, tolerance=TIGHT)
    for one, two, three in zip(quantum, classical, tight, strict=True):
        rows.append(
            [two["step"] + 1, f"{two['loss']:.6f}", f"{one['loss']:.6f}", f"{three['loss']:.6f}",
             f"{two['accuracy']:.4f}", f"{one['accuracy']:.4f}", f"{two['damping']:.2g}", named(one, "kappa", ".1f"),
             named(one, "queries"), f"{residual([one]):.1e}"]
        )  # fmt: skip
        assert one["damping"] == two["damping"] == three["damping"], "the damping went another way"
    header = [
        "step", "loss, Cholesky", "loss, quantum", f"loss, quantum {TIGHT:.0e}", "accuracy, Cholesky",
        "accuracy, quantum", "damping", "kappa of the factors", "queries of the factors", "residual of a layer's step",
    ]  # fmt: skip
    return markdown(header, rows)


def steps_to() -> str:
    rows = []
    for seed in SEEDS:
        quantum, classical = kfac(seed=seed)
        tight, exact = kfac(seed=seed, tolerance=TIGHT)
        lower, _ = kfac(seed=seed, damping=0.03)
        whole = run(seed=seed, solver="qsvt")
        rows.append(
            [seed, reached(classical), reached(quantum), reached(lower), reached(whole),
             f"{difference(quantum, classical):.1e}", f"{difference(tight, exact):.1e}", f"{residual(quantum):.1e}",
             total(quantum, "queries"), total(whole, "queries"),
             f"{total(quantum, 'projected_seconds'):.2f}", f"{total(whole, 'projected_seconds'):.2f}"]
        )  # fmt: skip
        print(rows[-1], flush=True)
    rows.append(["prototype", "3 / 6 / 8", "", "", "3-4 / 4-5 / 5-6", *[""] * 7])
    header = [
        "seed", "K-FAC, Cholesky", "K-FAC, quantum", "K-FAC, quantum, first damping 0.03", "GGN, quantum",
        "largest loss difference", f"at tolerance {TIGHT:.0e}", "largest residual of a layer's step",
        "queries, K-FAC", "queries, GGN", "projected s, K-FAC", "projected s, GGN",
    ]  # fmt: skip
    return markdown(header, rows)


def large() -> tuple[str, str]:
    """A few steps of a 784-64-10 network on minibatches of MNIST, or of a 64-64-10 one where there is no MNIST."""
    try:
        data = load_data("mnist")
    except MissingDataError as problem:
        data = load_data("digits")
        print(f"{problem}: digits instead")
    inputs, size = data.train_inputs.shape[1], min(4096, len(data.train_inputs))
    options = {"data": data.name, "hidden": (64,), "batch_size": size, "damping_floor": 0.03, "steps": 8}
    quantum, classical = kfac(**options)
    rows = []
    for one, two in zip(quantum, classical, strict=True):
        circuits = sum(event["seconds"] for event in one["stages"] if event["name"] == "solve")
        rows.append(
            [one["step"] + 1, f"{two['loss']:.5f}", f"{one['loss']:.5f}", f"{two['accuracy']:.4f}",
             f"{one['accuracy']:.4f}", named(one, "kappa", ".1f"), named(one, "queries"), named(one, "columns"),
             f"{residual([one]):.1e}", f"{two['simulated_seconds']:.2f}", f"{one['simulated_seconds']:.2f}",
             f"{circuits / one['simulated_seconds']:.0%}"]
        )  # fmt: skip
    header = [
        "step", "loss, Cholesky", "loss, quantum", "accuracy, Cholesky", "accuracy, quantum", "kappa of the factors",
        "queries of the factors", "columns", "residual of a layer's step", "simulated s, Cholesky",
        "simulated s, quantum", "of it circuits",
    ]  # fmt: skip
    sizes = ", ".join(f"{s['name']} {s['size']}" for s in quantum[0]["systems"])
    title = f"{data.name}, {inputs}-64-10, minibatches of {size} of {len(data.train_inputs)} examples, seed 0"
    return f"{title}. Systems: {sizes}.", markdown(header, rows)


def main() -> None:
    curve, steps, (title, network) = curves(), steps_to(), large()
    text = f"""# K-FAC: every layer two small systems

Made by `python benchmarks/bench_kfac.py` on {machine()}. K-FAC puts (G + e I) (x) (A + d I) for the block of a
layer, A of its inputs, G of its output gradients. Each factor is a linear system of its own, with the singular
vectors of the layer's gradient as right-hand sides; all factors of a step are planned and solved side by side.
"Quantum" is QSVT on exactly simulated circuits for every one of them, asked for by name, to a relative residual that
keeps the step of the layer within the tolerance (1e-2 unless said); "Cholesky" is the same training with direct solves.
Left to itself the scheduler takes LU at a gate time of 1e-7 s: systems this small take it microseconds.

## Digits, 64-16-10, full batch, seed 0

Systems in the order 0.outputs (16), 0.inputs (65), 2.outputs (10), 2.inputs (17). The three runs take the same damping
at every step.

{curve}

## Digits, steps to 90 / 95 / 97 % test accuracy

Loss differences are relative, quantum against Cholesky, the largest of 10 steps. GGN: one system for the whole network,
N = 1210, gram encoding, Levenberg-Marquardt damping. Last row: the prototype of this project, before this code (seed
not stated). Queries are of all 10 steps, counted once for all columns of a system; projected seconds are those of the
stated quantum machine (gate time 1e-7 s, no readout charged), where every column of a factor needs its own circuits.

{steps}

## A larger network

{title}

{network}

Simulated seconds were measured on this machine, with whatever else ran on it: only their ratio within a row says much.
"""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kfac.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
