"""Reads the archive that Comet writes of an offline experiment when it ends: what it would send."""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile


def archives(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.zip"), key=lambda file: file.stat().st_mtime_ns)


def keys(folder: Path) -> list[str]:
    return [_read(file, "experiment.json")[0]["offline_id"] for file in archives(folder)]


def project(folder: Path) -> str:
    (file,) = archives(folder)
    return str(_read(file, "experiment.json")[0]["project_name"])


def metrics(folder: Path, key: str | None = None) -> list[tuple[str, float, int | None, int | None]]:
    """Return name, value, step and epoch of what was logged, without what Comet measures by itself."""
    found = [message["metric"] for message in _messages(folder, "metric_msg", key)]
    return [
        (one["metricName"], one["metricValue"], one["step"], one["epoch"])
        for one in found
        if not one["metricName"].startswith("sys.") and one["metricName"] != "process duration"
    ]


def parameters(folder: Path) -> dict[str, Any]:
    """Return the hyper-parameters."""
    found = [message.get("param") or message["params"] for message in _messages(folder, "parameter_msg")]
    return {one["paramName"]: one["paramValue"] for one in found if one["source"] == "manual"}


def notes(folder: Path) -> dict[str, Any]:
    """Return what was logged by `log_other`, the experiment's name among it."""
    return {message["key"]: message["value"] for message in _messages(folder, "log_other")}


def graphs(folder: Path) -> list[str]:
    return [message["graph"] for message in _messages(folder, "graph")]


def _messages(folder: Path, kind: str, key: str | None = None) -> list[dict[str, Any]]:
    return [
        message["payload"]
        for file in archives(folder)
        if file.name.startswith(key or "")
        for message in _read(file, "messages.json")
        if message["type"] == kind
    ]


def _read(file: Path, name: str) -> list[dict[str, Any]]:
    with ZipFile(file) as archive:
        return [json.loads(line) for line in archive.read(name).splitlines()]
