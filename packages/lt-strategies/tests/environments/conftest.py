import os
from collections.abc import Callable

import pytest

_PREFIXES = ("SLURM_", "OMPI_", "PMI_", "PMIX_", "MPI_LOCAL", "LSB_", "JSM_", "TORCHELASTIC_", "MASTER_")
_NAMES = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE")

SetVariables = Callable[..., None]


@pytest.fixture(autouse=True)
def _started_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith(_PREFIXES) or variable in _NAMES:
            monkeypatch.delenv(variable)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> SetVariables:
    """Return a function that sets variables for the test."""

    def set_all(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return set_all
