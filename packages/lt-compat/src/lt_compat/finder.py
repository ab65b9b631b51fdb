"""The import finder that answers for Lightning's packages."""

import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from types import ModuleType
from typing import Any

from lt_compat.distributions import distributions_named
from lt_compat.modules import ROOTS, CompatModule, table_key, unknown
from lt_compat.names import is_module


class CompatFinder(MetaPathFinder, Loader):
    """Finds ``lightning``, ``pytorch_lightning``, ``lightning_fabric`` and the modules below them.

    Every module counts as a package, so that ``from lightning.pytorch import Nonsense`` comes here, as an import of a
    module below, and can be answered in words.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        """Of the lt-compat that this finder belongs to."""
        self.place = __file__
        """Where that one is."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of Lightning's; ``None`` for modules of others.

        Raises:
            ModuleNotFoundError: neither a module nor a name that lt has; the message says what to use instead.
        """
        key = table_key(fullname)
        if key is None:
            return None
        if fullname in ROOTS or is_module(key):
            return ModuleSpec(fullname, self, origin="lt-compat", is_package=True)
        parent, _, name = fullname.rpartition(".")
        # Named after the parent: Python drops an error about exactly the name in `from parent import name`.
        raise ModuleNotFoundError(unknown(parent, name), name=parent)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return CompatModule(spec.name, spec)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to do: names are loaded when they're used."""

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterator[Distribution]:
        """Let ``importlib.metadata.version("lightning")`` and its like answer."""
        return distributions_named(context.name if context is not None else None)


def installed_finder() -> Any:
    """Return the finder of lt-compat that's in use in this process, of whatever copy; ``None``: none is."""
    return next((finder for finder in sys.meta_path if type(finder).__name__ == CompatFinder.__name__), None)
