from typing import Any

import pytest

from lt_core.specs.logging_spec import resolve_logging
from lt_interfaces.logger import Logger


class Silent(Logger):
    """A logger that hears everything and says nothing."""

    @property
    def name(self) -> str:
        return "silent"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass


def test_by_default_everything_is_on_where_it_is_installed() -> None:
    spec = resolve_logging()
    assert (spec.logger, spec.enable_progress_bar, spec.enable_model_summary) == (None, None, None)
    assert (spec.log_every_n_steps, spec.profiler, spec.enable_autolog_hparams) == (50, None, True)


def test_loggers_come_as_one_as_several_by_name_or_not_at_all() -> None:
    logger = Silent()
    assert resolve_logging(logger=True).logger is True
    assert resolve_logging(logger=False).logger == ()
    assert resolve_logging(logger=[]).logger == ()
    assert resolve_logging(logger=logger).logger == (logger,)
    assert resolve_logging(logger=(one for one in [logger, "csv"])).logger == (logger, "csv")


@pytest.mark.parametrize(
    ("logger", "error", "said"),
    [
        ("csb", ValueError, "Did you mean `csv`"),
        (3, TypeError, "but got 3"),
        ([Silent(), 3], TypeError, "but got 3"),
        ({"csv": 1}, TypeError, "but got {'csv': 1}"),
        (Silent, TypeError, "Pass an instance"),
    ],
)
def test_what_isnt_a_logger_is_refused(logger: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=f"`logger` must be .*{said}"):
        resolve_logging(logger=logger)


def test_a_profilers_name_may_have_any_case_and_a_misspelt_one_is_corrected() -> None:
    assert resolve_logging(profiler="Simple").profiler == "simple"
    with pytest.raises(ValueError, match=r"`profiler` .*Did you mean `simple`"):
        resolve_logging(profiler="smple")
