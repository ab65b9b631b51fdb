"""Which batch sizes to try, to find the largest that fits."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class BatchSizeSearch:
    """Looks for the largest size that fits, and returns none that wasn't tried.

    >>> BatchSizeSearch(lambda size: size <= 20, max_val=100, max_trials=9).by_doubling(2)
    16
    """

    fits: Callable[[int], bool]
    """Tries a size."""
    max_val: int
    """The largest size to try; may be lowered while trying."""
    max_trials: int
    """How many sizes that fit are tried at most."""
    too_large: int | None = None
    """The smallest size that was found not to fit."""
    fitting: list[int] = field(default_factory=list)
    """The sizes that were found to fit, in the order they were tried."""

    def by_doubling(self, start: int) -> int | None:
        """Double from a first size as long as it fits, or halve it until it does; ``None``: not even 1 fits."""
        size = min(start, self.max_val)
        while self._is_open and self._try(size) and size < self.max_val:
            size = min(2 * size, self.max_val)
        while not self.fitting and size > 1 and self._is_open:
            size //= 2
            self._try(size)
        return self._largest

    def by_bisecting(self, start: int, margin: float) -> int | None:
        """Double, halve the gap between what fits and what doesn't until there's none, and leave a margin.

        Args:
            start: the first size.
            margin: the part of the size found that's left free, from 0 on and below 1.
        """
        fitting = self.by_doubling(start)
        if fitting is None:
            return None
        while self._is_open and self.too_large is not None and self.too_large - fitting > 1:
            middle = (fitting + self.too_large) // 2
            if self._try(middle):
                fitting = middle
        smaller = max(int(fitting * (1 - margin)), 1)
        return smaller if smaller in self.fitting or self._try(smaller) else fitting

    @property
    def _is_open(self) -> bool:
        return len(self.fitting) < self.max_trials

    @property
    def _largest(self) -> int | None:
        return max(self.fitting, default=None)

    def _try(self, size: int) -> bool:
        does_fit = self.fits(size)
        if does_fit:
            self.fitting.append(size)
        else:
            self.too_large = size if self.too_large is None else min(size, self.too_large)
        return does_fit
