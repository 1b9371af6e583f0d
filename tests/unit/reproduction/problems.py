"""A problem that trains in milliseconds."""

import torch

from qnewton_gpu.data import DataSet
from qnewton_gpu.reproduction.runs import Problem


def tiny(seed: int = 0, examples: int = 60, hidden: tuple[int, ...] = (4,)) -> Problem:
    """Three noisy clusters in six dimensions."""
    random = torch.Generator().manual_seed(7)
    targets = torch.arange(examples + 30) % 3
    centres = torch.rand(3, 6, generator=random, dtype=torch.float64)
    inputs = centres[targets] + 0.1 * torch.randn(examples + 30, 6, generator=random, dtype=torch.float64)
    return Problem(DataSet("tiny", inputs[30:], targets[30:], inputs[:30], targets[:30], 3), hidden, seed)
