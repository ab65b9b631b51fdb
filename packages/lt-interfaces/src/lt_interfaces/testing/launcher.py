"""What every launcher promises."""

import pytest

from lt_interfaces.launcher import Launcher


def add(first: int, second: int = 0) -> int:
    """Add in a launched process; at module level, so that spawned processes find it."""
    return first + second


def fail(message: str) -> None:
    """Fail in a launched process."""
    raise ValueError(message)


class LauncherContract:
    """Subclass it and override `launcher`, one that starts few processes."""

    @pytest.fixture
    def launcher(self) -> Launcher:
        """Return the launcher to check, not used before."""
        raise NotImplementedError

    def test_says_what_it_can_do(self, launcher: Launcher) -> None:
        assert launcher.is_interactive_compatible in (True, False)
        assert launcher.returns_results in (True, False)

    def test_returns_what_rank_zero_returned(self, launcher: Launcher) -> None:
        assert launcher.launch(add, 2, second=3) == 5

    def test_raises_the_first_failure(self, launcher: Launcher) -> None:
        with pytest.raises(Exception, match="out of order"):
            launcher.launch(fail, "out of order")
