"""Metrics, hyper-parameters and models for MLflow."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from lt_interfaces.logger import Logger
from lt_interfaces.rank_zero import WarningCache, global_rank, rank_zero_only
from lt_interfaces.roles import CheckpointRole
from lt_loggers.experiment import rank_zero_experiment
from lt_loggers.hparams_yaml import flat_hyperparameters
from lt_loggers.mlflow_runs import MLFlowExperiment, MLFlowRun
from lt_loggers.prefix import prefixed
from lt_loggers.saved_checkpoints import NewCheckpoints, SavedCheckpoint, callback_settings
from lt_loggers.trackers import require_tracker
from lt_loggers.versions import StrPath

_FORBIDDEN = re.compile(r"[^\w./ :-]", re.ASCII)
_STATUS: Final = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED"}
# What servers take at once.
_METRICS_AT_ONCE: Final = 1000
_PARAMS_AT_ONCE: Final = 100
_SHORTEST_LIMIT: Final = 250
"""The length of hyper-parameters that every version keeps; newer ones cut off less."""
_MOST_ON_THEIR_WAY: Final = 1000

_warned = WarningCache()


class MLFlowLogger(Logger):
    """Sends metrics, hyper-parameters and checkpoints to MLflow: to a server, or to a database in a local folder.

    Needs the extra ``lt-loggers[mlflow]``. The run starts with the first thing that's logged, on global rank 0 alone.
    Without a ``tracking_uri`` it's kept in ``<save_dir>/mlflow.db``, and artifacts in ``<save_dir>/artifacts``; look at
    them with ``mlflow ui --backend-store-uri sqlite:///<save_dir>/mlflow.db``.

    To go on with a run after a restart, give its ``run_id``, or the same ``version`` each time.

    Args:
        experiment_name: the experiment; it's made if it doesn't exist.
        run_name: what the run is called; by default MLflow thinks of a name.
        tracking_uri: a server or a database; by default what the environment variable ``MLFLOW_TRACKING_URI`` says,
            else the database in ``save_dir``. Newer versions of MLflow refuse ``file:``.
        tags: what the run is marked with.
        save_dir: the folder of the database, where there's no ``tracking_uri``.
        log_model: send checkpoints as artifacts: ``True``: those that are there when a run ends well, or each one
            where the callback keeps all (``save_top_k=-1``); ``"all"``: each one as it's saved.
        prefix: put before each metric's name, joined by ``-``.
        artifact_location: where artifacts of an experiment that doesn't exist yet go.
        run_id: a run that exists and is continued.
        synchronous: ``False`` sends metrics and hyper-parameters in the background; they're waited for at epoch ends,
            with every checkpoint and when the run ends. By default MLflow decides.
        version: a name of your own for the run, kept as its tag ``lt.version``: the run of this name is continued if
            there's one, else it's made. By default a new name.

    Raises:
        MissingPackageError: mlflow isn't installed.
        MisconfigurationException: ``log_model`` is none of its choices.

    Example::

        logger = MLFlowLogger("digits", tracking_uri="http://127.0.0.1:5000", log_model=True)
        Trainer(logger=logger).fit(model)
        logger.experiment.log_text(logger.run_id, "looks good", "notes.txt")
    """

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: StrPath | None = "./mlruns",
        log_model: bool | Literal["all"] = False,
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
        *,
        version: str | None = None,
    ) -> None:
        self._checkpoints: Final = NewCheckpoints(log_model)
        require_tracker("mlflow", distribution="mlflow", logger="MLFlowLogger", extra="mlflow")
        self._run: Final = MLFlowRun(
            _experiment(experiment_name, tracking_uri, save_dir=save_dir, artifact_location=artifact_location),
            name=run_name,
            tags=tags or {},
            run_id=run_id,
            version=None if version is None else str(version),
        )
        self._prefix: Final = prefix
        self._synchronous: Final = {} if synchronous is None else {"synchronous": synchronous}
        self._params: dict[str, str] | None = None
        self._on_their_way: list[Any] = []

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self._run.experiment.name

    @property
    def version(self) -> str:
        """The ``version`` or the ``run_id`` that was given, else a new name; it's known before the run has an id."""
        return self._run.version

    @property
    def save_dir(self) -> str | None:
        """The folder of the database, ``None`` where a ``tracking_uri`` is used."""
        folder = self._run.experiment.folder
        return None if folder is None else str(folder)

    @property
    def run_id(self) -> str | None:
        """The id that MLflow gave the run; asking starts it. ``None`` on other ranks than 0."""
        return str(self._run.info.run_id) if global_rank() == 0 else None

    @property
    def experiment_id(self) -> str | None:
        """The id that MLflow gave the experiment; asking starts the run. ``None`` on other ranks than 0."""
        return str(self._run.info.experiment_id) if global_rank() == 0 else None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The `mlflow.tracking.MlflowClient`, made when first asked for; on other ranks it ignores calls."""
        return self._run.client

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record numbers. Texts are left out, with a warning, and so are characters of names that MLflow refuses."""
        from mlflow.entities import Metric  # see `experiment`: who doesn't log has no need of mlflow

        now_ms = int(time.time() * 1000)
        entries = []
        for name, value in prefixed(metrics, self._prefix).items():
            if isinstance(value, str):
                _warned.warn(f"The metric `{name}` isn't sent to MLflow: it takes numbers, got {value!r}.")
            else:
                entries.append(Metric(_accepted(name), float(value), now_ms, step or 0))
        for some in _parts(entries, _METRICS_AT_ONCE):
            self._send(metrics=some)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Record hyper-parameters as the run's params; names of nested ones are joined by ``/``.

        MLflow's params never change: one that the run has with another value stays, and a warning names it.
        """
        from mlflow.entities import Param  # see `log_metrics`

        given = {_accepted(name): str(value) for name, value in flat_hyperparameters(params).items()}
        known = self._known_params()
        for name in given.keys() & known.keys():
            if not _is_kept_as(known[name], given[name]):
                _warned.warn(
                    f"The hyper-parameter `{name}` stays {known[name]!r} in MLflow's run {self.run_id}, which can't "
                    f"change it to {given[name]!r}. Start a new run, or set a tag by `logger.experiment`."
                )
        new = {name: value for name, value in given.items() if name not in known}
        known.update(new)
        for some in _parts([Param(name, value) for name, value in new.items()], _PARAMS_AT_ONCE):
            self._send(params=some)

    @rank_zero_only
    def save(self) -> None:
        """Wait for what's being sent in the background (``synchronous=False``)."""
        waiting, self._on_their_way = self._on_their_way, []
        for operation in waiting:
            operation.wait()

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: CheckpointRole) -> None:
        """Send the new checkpoint, or remember to send what's there at the end; see ``log_model``."""
        for checkpoint in self._checkpoints.at_once(checkpoint_callback):
            self._send_checkpoint(checkpoint, checkpoint_callback)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Send the checkpoints that are there if the run ended well, and mark the run as finished or failed."""
        if status == "success":
            for callback, checkpoint in self._checkpoints.at_end():
                self._send_checkpoint(checkpoint, callback)
        self.save()
        if self._run.is_started:
            self.experiment.set_terminated(self.run_id, _STATUS.get(status, "FINISHED"))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_params": None, "_on_their_way": []}

    def _known_params(self) -> dict[str, str]:
        if self._params is None:
            self._params = dict(self.experiment.get_run(self.run_id).data.params)
        return self._params

    def _send(self, **entries: Sequence[Any]) -> None:
        operation = self.experiment.log_batch(self.run_id, **entries, **self._synchronous)
        if operation is not None:
            self._on_their_way.append(operation)
        if len(self._on_their_way) >= _MOST_ON_THEIR_WAY:
            self.save()

    def _send_checkpoint(self, checkpoint: SavedCheckpoint, callback: CheckpointRole) -> None:
        # Imported here: PyYAML is needed by those who send checkpoints, not by `import lt_loggers`.
        import yaml

        client, path, folder = self.experiment, checkpoint.path, checkpoint.path.stem
        if path.is_dir():
            client.log_artifacts(self.run_id, str(path), f"{folder}/{path.name}")
        else:
            client.log_artifact(self.run_id, str(path), folder)
        facts = {"original_filename": path.name, "score": checkpoint.score, "Checkpoint": callback_settings(callback)}
        with TemporaryDirectory() as beside:
            Path(beside, "metadata.yaml").write_text(yaml.safe_dump(facts), encoding="utf-8")
            Path(beside, "aliases.txt").write_text(str(checkpoint.aliases), encoding="utf-8")
            client.log_artifacts(self.run_id, beside, folder)


def _experiment(
    name: str, tracking_uri: str | None, *, save_dir: StrPath | None, artifact_location: str | None
) -> MLFlowExperiment:
    """Return the experiment at the place given, else in a database in the folder."""
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return MLFlowExperiment(name, uri, folder=None, artifact_location=artifact_location)
    folder = Path(os.path.expandvars(os.path.expanduser(save_dir or "./mlruns"))).absolute()
    location = artifact_location or str(folder / "artifacts")
    return MLFlowExperiment(name, f"sqlite:///{folder / 'mlflow.db'}", folder=folder, artifact_location=location)


def _accepted(name: str) -> str:
    """Return a name without the characters that MLflow refuses, and warn where there are some."""
    accepted = _FORBIDDEN.sub("", name)
    if accepted != name:
        _warned.warn(f"MLflow's names have letters, digits and `_-./ :` only: `{name}` is sent as `{accepted}`.")
    return accepted


def _is_kept_as(kept: str, value: str) -> bool:
    return kept == value or (len(kept) >= _SHORTEST_LIMIT and value.startswith(kept))


def _parts(entries: Sequence[Any], at_once: int) -> Iterator[Sequence[Any]]:
    return (entries[start : start + at_once] for start in range(0, len(entries), at_once))
