"""When a checkpoint is due: pure rules of progress."""

from dataclasses import dataclass
from datetime import timedelta

from lt_interfaces.errors import MisconfigurationException


@dataclass(frozen=True)
class SavingTriggers:
    """At most one of three triggers: optimizer steps, epochs or time. Zero and ``None`` switch a trigger off.

    >>> triggers = SavingTriggers.from_arguments(every_n_train_steps=5)
    >>> triggers.step_is_due(before=4, now=5), triggers.epoch_is_due(0)
    (True, False)
    """

    every_n_train_steps: int = 0
    every_n_epochs: int = 0
    train_time_interval: timedelta | None = None

    @classmethod
    def from_arguments(
        cls,
        *,
        every_n_train_steps: int | None = None,
        every_n_epochs: int | None = None,
        train_time_interval: timedelta | None = None,
    ) -> "SavingTriggers":
        """Check what the user gave; with nothing given a checkpoint is due after every epoch.

        Raises:
            MisconfigurationException: for a negative number, a time that isn't a positive timedelta, or two triggers.
        """
        _check_count("every_n_train_steps", every_n_train_steps)
        _check_count("every_n_epochs", every_n_epochs)
        _check_interval(train_time_interval)
        if every_n_train_steps is None and every_n_epochs is None and train_time_interval is None:
            return cls(every_n_epochs=1)
        triggers = cls(every_n_train_steps or 0, every_n_epochs or 0, train_time_interval)
        active = [bool(triggers.every_n_train_steps), bool(triggers.every_n_epochs), train_time_interval is not None]
        if sum(active) > 1:
            message = (
                f"`every_n_train_steps={every_n_train_steps}`, `every_n_epochs={every_n_epochs}` and "
                f"`train_time_interval={train_time_interval}` exclude each other: give one of them, "
                "or one ModelCheckpoint each."
            )
            raise MisconfigurationException(message)
        return triggers

    @property
    def watches_batches(self) -> bool:
        """Whether anything may be due after a batch."""
        return bool(self.every_n_train_steps) or self.train_time_interval is not None

    def step_is_due(self, before: int, now: int) -> bool:
        """Whether a multiple of ``every_n_train_steps`` lies in ``(before, now]``.

        A batch may take no step (accumulation) or several (several optimizers): neither repeats nor misses a save.

        >>> SavingTriggers(every_n_train_steps=5).step_is_due(before=4, now=6)
        True
        """
        every = self.every_n_train_steps
        return every > 0 and now // every > before // every

    def time_is_due(self, seconds: float) -> bool:
        """Whether ``seconds`` since the last save are enough."""
        return self.train_time_interval is not None and seconds >= self.train_time_interval.total_seconds()

    def epoch_is_due(self, epoch: int) -> bool:
        """Whether a checkpoint is due at the end of the epoch with this index."""
        return self.every_n_epochs > 0 and (epoch + 1) % self.every_n_epochs == 0


def _check_count(name: str, value: int | None) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        message = f"`{name}` must be a whole number >= 0 (0 switches it off) or None, not {value!r}."
        raise MisconfigurationException(message)


def _check_interval(value: timedelta | None) -> None:
    if value is not None and (not isinstance(value, timedelta) or value <= timedelta(0)):
        message = f"`train_time_interval` must be a positive datetime.timedelta or None, not {value!r}."
        raise MisconfigurationException(message)
