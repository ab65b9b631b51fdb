"""Process-wide settings of torch for the time of a run; restored when it ends, also after a failure."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lt_core.specs.optimization import OptimizationSpec

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def torch_flags(spec: OptimizationSpec) -> Iterator[None]:
    """Apply ``deterministic`` and ``benchmark``, and put back what was set before."""
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(_CUBLAS)
    try:
        _apply(spec)
        yield
    finally:
        _switch_determinism(was_deterministic, warn_only=warned_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
        else:
            os.environ[_CUBLAS] = workspace


def _switch_determinism(deterministic: bool, *, warn_only: bool) -> None:
    """Set torch's switch, unless it stands so already: touching it loads torch's compiler, which takes seconds."""
    stands = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    if stands != (deterministic, warn_only):
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def _apply(spec: OptimizationSpec) -> None:
    if spec.deterministic is not None:
        _switch_determinism(bool(spec.deterministic), warn_only=spec.deterministic == "warn")
    if spec.deterministic:
        # cuBLAS is deterministic only with a workspace of fixed size; it reads this when it's first used.
        os.environ.setdefault(_CUBLAS, ":4096:8")
    if spec.benchmark is not None:
        torch.backends.cudnn.benchmark = spec.benchmark
    elif spec.deterministic:
        torch.backends.cudnn.benchmark = False
