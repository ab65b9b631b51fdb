"""What every profiler promises."""

import pytest

from lt_interfaces.profiler import Profiler


class ProfilerContract:
    """Subclass it and override `profiler`."""

    @pytest.fixture
    def profiler(self) -> Profiler:
        """Return the profiler to check, not used before."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _set_up(self, profiler: Profiler) -> None:
        profiler.setup("fit", None, None)

    def test_a_span_is_measured_and_handed_its_name(self, profiler: Profiler) -> None:
        with profiler.profile("optimizer_step") as name:
            assert name == "optimizer_step"
        assert isinstance(profiler.summary(), str)

    def test_a_span_ends_when_its_body_raises(self, profiler: Profiler) -> None:
        for _ in range(2):
            with pytest.raises(KeyError), profiler.profile("run_training_batch"):
                raise KeyError

    def test_spans_may_lie_inside_each_other(self, profiler: Profiler) -> None:
        profiler.start("run_training_epoch")
        profiler.start("run_training_batch")
        profiler.stop("run_training_batch")
        profiler.stop("run_training_epoch")

    def test_reports_with_nothing_to_report(self, profiler: Profiler) -> None:
        assert isinstance(profiler.summary(), str)
        profiler.describe()

    def test_can_be_used_for_the_next_entry_point(self, profiler: Profiler) -> None:
        profiler.describe()
        profiler.teardown("fit")
        profiler.setup("validate", None, None)
        with profiler.profile("validation"):
            pass
        profiler.teardown("validate")

    def test_teardown_may_be_called_twice(self, profiler: Profiler) -> None:
        profiler.teardown("fit")
        profiler.teardown(None)
