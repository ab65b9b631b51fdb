"""The contract of a flag exchange: ranks tell each other of rare events, without ever waiting for it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence


class FlagExchange(ABC):
    """Tells every rank how many ranks raised a flag, one check later.

    A strategy of several processes makes one for a fit (`Strategy.open_flag_exchange`). The loop calls `exchange` at
    every step boundary, on all ranks equally often: it starts sending this rank's flags and returns the outcome of the
    exchange before, which has arrived by then. No device is synchronised.
    """

    @abstractmethod
    def exchange(self, flags: Sequence[bool]) -> Sequence[int] | None:
        """Send this rank's flags and return how many ranks had raised each one in the exchange before.

        ``None`` at a boundary that the strategy leaves out (it may check every n-th one only): nothing was sent, and
        flags raised now go with the next exchange. The first exchange returns zeros. Collective.

        Args:
            flags: always as many as in the first call.
        """

    @abstractmethod
    def settle(self) -> Sequence[int]:
        """Wait for the exchange that was started last and return its outcome, as the next `exchange` will again.

        Nothing (an empty sequence) before the first one.

        A rank calls it only when it must know before it goes on; the others needn't.
        """
