"""Metrics in a plain CSV file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.logger import Logger
from lt_interfaces.rank_zero import WarningCache, rank_zero_only
from lt_interfaces.roles import CheckpointRole
from lt_loggers.hparams_yaml import plain_hyperparameters, write_hparams
from lt_loggers.metrics_file import MetricsFile
from lt_loggers.prefix import prefixed
from lt_loggers.versions import RunFolder, StrPath

METRICS_FILE: Final = "metrics.csv"

_warned = WarningCache()


class CSVLogger(Logger):
    """Writes metrics to ``<save_dir>/<name>/version_<n>/metrics.csv``, hyper-parameters to ``hparams.yaml`` beside it.

    One row per `log_metrics` call, one column per metric, and the column ``step``. Files are written on global rank 0.
    A version that exists is continued, its rows are kept. When an interrupted run is resumed into its version, rows
    that it logs again exactly as they stand in the file aren't repeated; rows that differ stay beside the new ones.

    Args:
        save_dir: the folder that all experiments share; environment variables and ``~`` are expanded.
        name: the experiment's folder; ``None`` for none.
        version: an int ``n`` means the folder ``version_n``, a string is the folder's name; ``None`` means the next
            free number.
        prefix: put before each metric's name, joined by ``-``.
        flush_logs_every_n_steps: rows are written to the file when the step has advanced by this much, or when as many
            rows wait; also at epoch ends, with every checkpoint and when the run ends, however it ends.
        root_dir: another name for ``save_dir``, as users of Fabric know it.

    Raises:
        MisconfigurationException: no folder, a remote one, or ``flush_logs_every_n_steps`` isn't a positive int.

    >>> logger = CSVLogger("runs", name="digits")
    >>> logger.log_metrics({"loss": 0.5, "epoch": 0}, step=0)
    >>> logger.log_metrics({"loss": 0.25, "epoch": 0}, step=1)
    >>> logger.finalize("success")
    >>> print((Path(logger.log_dir) / "metrics.csv").read_text().strip())
    epoch,loss,step
    0,0.5,0
    0,0.25,1
    """

    def __init__(
        self,
        save_dir: StrPath | None = None,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
        *,
        root_dir: StrPath | None = None,
    ) -> None:
        if type(flush_logs_every_n_steps) is not int or flush_logs_every_n_steps < 1:
            message = f"`flush_logs_every_n_steps` must be an int of at least 1, got {flush_logs_every_n_steps!r}."
            raise MisconfigurationException(message)
        self._folder: Final = RunFolder(save_dir, name=name, version=version, root_dir=root_dir)
        self._prefix: Final = prefix
        self._flush_every: Final = flush_logs_every_n_steps
        self._hparams: Final[dict[Any, Any]] = {}
        self._file: MetricsFile | None = None
        self._flushed_step = 0

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def version(self) -> int | str:
        return self._folder.version

    @property
    def save_dir(self) -> str:
        return self._folder.save_dir

    @property
    def root_dir(self) -> str:
        return self._folder.root_dir

    @property
    def log_dir(self) -> str:
        return self._folder.path

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Take one row; without a step it stands one step after the last row."""
        file = self._open()
        row = prefixed(metrics, self._prefix)
        if "step" in row:
            message = "A metric named `step` isn't written: the column `step` is the x-axis. Give it another name."
            _warned.warn(message)
        step = _step_after(file.last_step) if step is None else int(step)
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in row.items()}
        file.add({**values, "step": step})
        if step - self._flushed_step >= self._flush_every or file.num_pending >= self._flush_every:
            self.save()

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write hyper-parameters at once, together with those given before."""
        self._hparams.update(plain_hyperparameters(params))
        write_hparams(self.log_dir, self._hparams)

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that wait; they survive the process being killed afterwards."""
        if self._file is not None:
            self._file.flush()
            self._flushed_step = max(self._flushed_step, self._file.last_step or 0)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rows that wait, whatever the status."""
        self.save()
        # The next run may go back to an earlier step: it reads the file as a resumed one does.
        self._file = None

    def after_save_checkpoint(self, checkpoint_callback: CheckpointRole) -> None:
        """Write the rows that wait: a run resumed from this checkpoint won't log them again."""
        self.save()

    def _open(self) -> MetricsFile:
        """Return the file, read and ready for rows."""
        if self._file is None:
            self._file = MetricsFile(Path(self.log_dir) / METRICS_FILE)
            self._flushed_step = self._file.last_step or 0
        return self._file


def _step_after(step: int | None) -> int:
    return 0 if step is None else step + 1
