"""Newton's method with classical and simulated quantum linear solvers.

The public names, in the order data flows; each is imported when it is first used, so that `import qnewton_gpu` and
the command line stay fast (torch takes 1.4 s).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "QNewton": "optimizer",
    "StepReport": "optimizer",
    "Scheduler": "scheduler",
    "Plan": "scheduler",
    "solve": "linear_solve",
    "LinearSystem": "solvers.base",
    "Solution": "solvers.base",
    "Solver": "solvers.base",
    "Status": "solvers.base",
    "BlockEncoding": "encodings.base",
    "GramOperator": "operators",
    "KroneckerOperator": "operators",
    "ToeplitzOperator": "operators",
    "screened_poisson": "operators",
    "CostModel": "costs.model",
    "Hardware": "costs.hardware",
    "ClassicalMachine": "costs.machine",
    "calibrate": "costs.calibration",
    "stated_system": "planning.stated",
    "estimate": "planning.estimate",
    "simulators": "planning.simulators",
    "break_even_map": "planning.break_even",
    "condition": "conditioning.condition",
    "RegisterBudget": "simulation",
    "Readout": "readout",
    "Noise": "noise",
    "SpectrumBounds": "conditioning.spectrum",
    "estimate_spectrum": "conditioning.spectrum",
    "kappa_estimates": "conditioning.kappa",
    "prune_symmetric": "conditioning.pruning",
    "inverse_polynomial": "polynomials.inverse",
    "phase_factors": "polynomials.phases",
    "select_backend": "backends",
}

__all__ = [*_NAMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from .backends import select_backend
    from .conditioning.condition import condition
    from .conditioning.kappa import kappa_estimates
    from .conditioning.pruning import prune_symmetric
    from .conditioning.spectrum import SpectrumBounds, estimate_spectrum
    from .costs.calibration import calibrate
    from .costs.hardware import Hardware
    from .costs.machine import ClassicalMachine
    from .costs.model import CostModel
    from .encodings.base import BlockEncoding
    from .linear_solve import solve
    from .noise import Noise
    from .operators import GramOperator, KroneckerOperator, ToeplitzOperator, screened_poisson
    from .optimizer import QNewton, StepReport
    from .planning.break_even import break_even_map
    from .planning.estimate import estimate
    from .planning.simulators import simulators
    from .planning.stated import stated_system
    from .polynomials.inverse import inverse_polynomial
    from .polynomials.phases import phase_factors
    from .readout import Readout
    from .scheduler import Plan, Scheduler
    from .simulation import RegisterBudget
    from .solvers.base import LinearSystem, Solution, Solver, Status
