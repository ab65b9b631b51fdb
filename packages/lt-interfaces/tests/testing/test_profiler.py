from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from toy_parts import ToyProfiler

from lt_interfaces.testing import ProfilerContract


class TestToyProfiler(ProfilerContract):
    @pytest.fixture
    def profiler(self) -> ToyProfiler:
        return ToyProfiler()


class Leaking(ToyProfiler):
    """Refuses to start a span twice, and doesn't end one whose body raises."""

    def start(self, action_name: str) -> None:
        assert action_name not in self._started, f"{action_name} runs already"
        super().start(action_name)

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        self.start(action_name)
        yield action_name
        self.stop(action_name)


def test_a_span_that_outlives_its_body_is_found_out() -> None:
    with pytest.raises(AssertionError, match="runs already"):
        ProfilerContract().test_a_span_ends_when_its_body_raises(Leaking())
