"""Runs of MLflow: found again where they exist, else made, with the first thing that's logged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

VERSION_TAG: Final = "lt.version"
"""The tag that holds a logger's version: MLflow chooses run ids by itself, so a run is found again by this one."""


@dataclass(frozen=True)
class MLFlowExperiment:
    """An experiment, and the place where MLflow keeps it.

    Args:
        name: the experiment's name.
        tracking_uri: a database or a server.
        folder: where the database is a file of ours, the folder it lies in, which is made when it's needed.
        artifact_location: where artifacts go, should the experiment not exist yet; ``None`` leaves it to MLflow.
    """

    name: str
    tracking_uri: str
    folder: Path | None
    artifact_location: str | None

    def client(self) -> Any:
        """Return a new `mlflow.tracking.MlflowClient`."""
        # Imported here: mlflow is an optional dependency and takes seconds.
        from mlflow.tracking import MlflowClient

        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self.tracking_uri)

    def id(self, client: Any) -> str:
        """Return the experiment's id; it's made if there's none of this name."""
        from mlflow.exceptions import MlflowException  # see `client`

        found = client.get_experiment_by_name(self.name)
        if found is None:
            try:
                return str(client.create_experiment(self.name, artifact_location=self.artifact_location))
            except MlflowException:
                # Jobs that start at once make it at once; all but one are told that it exists.
                found = client.get_experiment_by_name(self.name)
                if found is None:
                    raise
        return str(found.experiment_id)


class MLFlowRun:
    """The run of one logger. Its version is known before it's started, and is the same in all processes.

    Args:
        experiment: where it belongs.
        name: what it's called; ``None``: MLflow thinks of one.
        tags: what it's marked with.
        run_id: a run that exists and is continued.
        version: the run of this version is continued if there's one.
    """

    def __init__(
        self,
        experiment: MLFlowExperiment,
        *,
        name: str | None,
        tags: Mapping[str, Any],
        run_id: str | None,
        version: str | None,
    ) -> None:
        self.experiment: Final = experiment
        self._name: Final = name
        self._tags: Final = tags
        self._run_id: Final = run_id
        self._version = version if run_id is None else run_id
        self._client: Any = None
        self._info: Any = None

    @property
    def version(self) -> str:
        """The version, fixed when first asked for; asking starts nothing."""
        if self._version is None:
            self._version = uuid4().hex
        return self._version

    @property
    def is_started(self) -> bool:
        """Whether this process has started the run."""
        return self._info is not None

    @property
    def client(self) -> Any:
        """The `mlflow.tracking.MlflowClient`; asking starts the run."""
        if self._client is None:
            self._client = self.experiment.client()
            self._info = self._started().info
        return self._client

    @property
    def info(self) -> Any:
        """The `mlflow.entities.RunInfo`; asking starts the run."""
        _ = self.client
        return self._info

    def __getstate__(self) -> dict[str, Any]:
        # Clients hold connections; another process makes its own and finds the run by its version.
        return {**self.__dict__, "_version": self.version, "_client": None, "_info": None}

    def _started(self) -> Any:
        existing = self._existing()
        if existing is not None:
            self._client.update_run(existing.info.run_id, status="RUNNING")
            return existing
        from mlflow.tracking.context.registry import resolve_tags  # see `MLFlowExperiment.client`

        tags = {**{name: str(value) for name, value in self._tags.items()}, VERSION_TAG: self.version}
        return self._client.create_run(self.experiment.id(self._client), run_name=self._name, tags=resolve_tags(tags))

    def _existing(self) -> Any | None:
        if self._run_id is not None:
            return self._client.get_run(self._run_id)
        quote = '"' if "'" in self.version else "'"
        found = self._client.search_runs(
            [self.experiment.id(self._client)],
            f"tags.`{VERSION_TAG}` = {quote}{self.version}{quote}",
            max_results=1,
        )
        return found[0] if found else None
