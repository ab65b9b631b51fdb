"""The moment at which all ranks raise the failure of a save that they made together in the background."""

import threading

from lt_checkpoint_io.saving_ranks import SavingRanks


class AgreedPoll:
    """Counts the polls since one save, and lets ranks agree on the one at which they raise its failure.

    Ranks poll at the same step boundaries, but a failure comes to light on each at a moment of its own. One that raised
    a boundary earlier than the others would leave them waiting in training's next collective.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._polls = 0
        self._is_agreeing = False
        self._at: int | None = None

    def agree(self, ranks: SavingRanks) -> None:
        """Choose the first poll that no rank has passed. Collective, called in the background when the save failed."""
        with self._changed:
            self._is_agreeing, polls = True, self._polls
        at = 0  # if others are gone, there's nobody to agree with
        try:
            at = max(ranks.gather(polls)) + 1
        finally:
            with self._changed:
                self._is_agreeing, self._at = False, at
                self._changed.notify_all()

    def is_reached(self) -> bool:
        """Count a poll, and say whether the failure is to be raised at it; waits only while ranks agree."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_agreeing)
            self._polls += 1
            return self._at is not None and self._polls >= self._at
