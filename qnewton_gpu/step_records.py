"""What the run log keeps of a step: its systems, how each was planned and solved, and their schedule."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from .blocks import ConditionedSystem
from .scheduler import Plan, Schedule
from .solvers import CLASSICAL, Solution


def system_record(part: ConditionedSystem, plan: Plan, solution: Solution) -> dict[str, Any]:
    """What the run log keeps of one linear system."""
    system, resources = part.system, solution.resources
    with_assembly = plan.honest_costs[solution.solver].seconds if solution.solver in CLASSICAL else None
    return {
        "name": system.name,
        "size": system.size,
        "columns": system.rhs.shape[1],
        "kappa": system.bounds.kappa,
        "kappa_certified": system.bounds.certified,
        "row_sparsity": part.row_sparsity,
        "conditioning": part.record,
        "solver": solution.solver,
        "status": solution.status.value,
        "message": solution.message,
        "planned_by": plan.planned_by,
        "margin": plan.margin,
        "reason": plan.reason,
        "fallbacks": plan.fallbacks,
        "encoding": resources.get("encoding"),
        "mode": resources.get("mode"),
        "alpha": resources.get("alpha"),
        "polynomial_kappa": resources.get("kappa"),
        "polynomial_kappa_on_grid": resources.get("kappa_on_grid"),
        "degree": resources.get("degree"),
        "queries": solution.queries,
        "success_probability": solution.success_probability,
        **shots(solution),
        **{key: resources[key] for key in ("truncation_error", "bond_dimension") if key in resources},
        "tolerance": system.tolerance,
        "relative_residual": solution.relative_residual,
        "ledger": solution.ledger,
        "simulated_seconds": solution.simulated_seconds,
        "projected_seconds": solution.projected_seconds,
        "predicted_seconds": plan.costs[plan.planned_by].seconds,
        # to be compared with simulated_seconds where the stated machine is the one that ran
        "classical_predicted_seconds": with_assembly,
        "predicted": _costs(plan.costs),
        "honest_solver": plan.honest_solver,
        "honest_predicted": _costs(plan.honest_costs),
        "break_even_gate_time": plan.break_even_gate_time,
        "honest_break_even_gate_time": plan.honest_break_even_gate_time,
    }


def schedule_record(schedule: Schedule) -> dict[str, Any]:
    """What the run log keeps of a step's schedule; the plans are logged with their systems."""
    return {f.name: getattr(schedule, f.name) for f in fields(schedule) if f.name != "plans"}


def shots(solution: Solution) -> dict[str, Any]:
    """What a readout by shots took, over all rounds; amplitudes that were read exactly, or by no circuit, took none."""
    rounds = [entry for entry in solution.history if "runs" in entry]
    if not rounds:
        return {"readout": "exact" if solution.queries else None}
    return {
        "readout": "shots",
        "rounds": len(rounds),
        "runs": sum(sum(entry["runs"]) for entry in rounds),
        "preparations": sum(sum(entry["preparations"]) for entry in rounds),
        "exact_readout_seconds": solution.resources.get("exact_readout_seconds"),
    }


def _costs(costs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {"projected_seconds": cost.seconds, "factors": cost.factors} for name, cost in costs.items()}
