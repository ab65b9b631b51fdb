"""What environments have in common whose processes somebody else has started."""

import signal
from abc import abstractmethod

from lt_interfaces import ClusterEnvironment


class StartedElsewhere(ClusterEnvironment):
    """An environment that knows all ranks, because somebody else has started the processes and told them.

    What the strategy believes about ranks is ignored, and nothing is left behind.
    """

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def set_world_size(self, size: int) -> None:
        """Ignored: whoever started the processes knows how many there are."""

    def set_global_rank(self, rank: int) -> None:
        """Ignored: whoever started the processes has numbered them."""

    def teardown(self) -> None:
        """Nothing to remove."""


class StartedOnce(StartedElsewhere):
    """An environment whose jobs can't be put into a queue again by the job itself, all of whose nodes are alike."""

    @property
    @abstractmethod
    def count_option(self) -> str:
        """What the user changes to start another number of processes, for messages."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        started = self.world_size()
        if num_devices * num_nodes == started:
            return
        message = (
            f"`devices` ({num_devices} here) times `num_nodes={num_nodes}` makes {num_devices * num_nodes} processes, "
            f"but {started} were started. Make both agree: change the arguments, or {self.count_option}."
        )
        raise ValueError(message)

    @property
    def requeue_signal(self) -> signal.Signals | None:
        return None

    def requeue(self) -> None:
        message = f"{type(self).__name__} can't put a job into a queue again; only SLURMEnvironment can."
        raise RuntimeError(message)
