"""By which factor the gate time and the LU rate can change before one kind of solver disappears from the default run.

Every row is a real run with that machine, planned from scratch. Writes results/plan_robustness.md.

    .venv/bin/python benchmarks/bench_plan.py
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from qnewton_gpu.costs import ClassicalMachine, Hardware
from qnewton_gpu.training import TrainConfig, Training

RESULTS = Path(__file__).parent / "results"
FACTORS = [2.0 ** (k / 2) for k in range(-9, 10)]
SEED = 0


def plan(hardware: Hardware, classical: ClassicalMachine) -> str:
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(seed=SEED, hardware=hardware, classical=classical)
        lines = Training(config, None, Path(folder) / "run").run()
    return "".join(s["solver"][0] for line in lines for s in line["systems"])


def row(factor: float, value: str, letters: str) -> str:
    kinds = "both" if len(set(letters)) == 2 else {"q": "quantum only", "l": "LU only"}[letters[0]]
    return f"| {factor:.3g} | {value} | {letters} | {kinds} |"


def main() -> None:
    hardware, machine = Hardware(), ClassicalMachine.load()
    tables = {"gate time": [], "LU rate": []}
    both: dict[str, list[float]] = {"gate time": [], "LU rate": []}
    for factor in FACTORS:
        for what in tables:
            if what == "gate time":
                letters = plan(replace(hardware, gate_time=factor * hardware.gate_time), machine)
                value = f"{factor * hardware.gate_time:.3g} s"
            else:
                letters = plan(hardware, replace(machine, lu_flops=factor * machine.lu_flops))
                value = f"{factor * machine.lu_flops / 1e9:.4g} GFLOP/s"
            tables[what].append(row(factor, value, letters))
            if len(set(letters)) == 2:
                both[what].append(factor)
            print(what, tables[what][-1], flush=True)
    header = "| factor | value | plan, one letter a step (q quantum, l LU) | kinds |\n|---|---|---|---|"
    parts = []
    for what, rows in tables.items():
        span = f"Both kinds appear for factors from {min(both[what]):.3g} to {max(both[what]):.3g}."
        parts.append(f"## {what}\n\n{span}\n\n{header}\n" + "\n".join(rows))
    text = (
        "# How robust the default plan is\n\n"
        f"Made by `python benchmarks/bench_plan.py`: `qnewton train --seed {SEED}` "
        f"({hardware.gate_time:.0e} s a gate, LU at {machine.lu_flops / 1e9:.0f} GFLOP/s, ideal comparison) with one "
        "of the two machines changed.\nThe ideal comparison depends on gate time times LU rate alone, so the two "
        "tables say the same thing.\n\n" + "\n\n".join(parts) + "\n"
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "plan_robustness.md").write_text(text)


if __name__ == "__main__":
    main()
