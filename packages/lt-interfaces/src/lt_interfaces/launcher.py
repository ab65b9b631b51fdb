"""The contract of a launcher: run a function in every process of the job."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

Result = TypeVar("Result")


class Launcher(ABC):
    """Runs one function in every process of the job.

    A strategy that needs more than the current process brings one (`Strategy.launcher`); without a launcher the
    function is called directly.
    """

    is_interactive_compatible: ClassVar[bool] = False
    """Whether it works in a notebook or an interactive shell."""

    returns_results: ClassVar[bool] = True
    """Whether everything the function changes is seen by the caller, i.e. the caller's process is one of the job."""

    @abstractmethod
    def launch(self, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Call ``function(*args, **kwargs)`` in every process and return what rank 0 returned.

        Called on the main process. Raises the first failure of any process, after all have ended.
        """

    @abstractmethod
    def kill(self, signum: int) -> None:
        """Send a signal to every process that this launcher started."""
