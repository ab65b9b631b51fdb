"""The DeepSpeed config of a run: the user's own, or one generated from the strategy's arguments."""

import json
import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch

from lt_deepspeed.options import ZeroOptions
from lt_deepspeed.places import MISSING, found_at, generated, scaling, settings
from lt_interfaces import MisconfigurationException, Precision

CONFIG_VARIABLE: Final = "PL_DEEPSPEED_CONFIG_PATH"
"""The environment variable that names a config file."""

_OWNED: Final = {
    "gradient_accumulation_steps": ((1, "auto"), "`Trainer(accumulate_grad_batches=...)`, or your own loop"),
    "gradient_clipping": ((0, "auto"), "`Trainer(gradient_clip_val=...)` or `fabric.clip_gradients(...)`"),
    "optimizer": ((), "`configure_optimizers`, or the optimizer given to Fabric"),
    "scheduler": ((), "`configure_optimizers`, or your own loop"),
    "managed_gradient_accumulation": ((True,), "the strategy"),
}
"""Keys that something else decides on: what may stand there all the same, and who decides."""
_DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Source:
    """A config, and what it's called in messages."""

    name: str
    content: dict[str, Any]
    is_own: bool
    """Whether the user wrote it."""
    options: ZeroOptions
    """The arguments beside it."""


def config_of(options: ZeroOptions, given: Mapping[str, Any] | str | os.PathLike[str] | None) -> Source:
    """Return the config: the one given, else the file that the environment names, else a generated one.

    Raises:
        FileNotFoundError: there's no such file.
        MisconfigurationException: it isn't a config, or says something else than the arguments.
    """
    source = _source(options, given)
    if source.is_own:
        _refuse_owned_keys(source)
        for conflict in _contradictions(source):
            raise MisconfigurationException(conflict)
    return source


def completed(source: Source, precision: Precision) -> dict[str, Any]:
    """Return the config with what the run adds: the precision, and the sizes that DeepSpeed asks for.

    Raises:
        MisconfigurationException: the config asks for another precision than the run.
    """
    config, options = deepcopy(source.content), source.options
    dtype = engine_dtype(precision)
    for section, its_dtype in _DTYPES.items():
        asked = config.get(section, {}).get("enabled", "auto")
        if asked != "auto" and bool(asked) != (dtype is its_dtype):
            message = (
                f"{source.name} has `{section}: {{enabled: {str(asked).lower()}}}`, but the run has"
                f" `precision='{precision.precision}'`. Leave the section out, or make both agree."
            )
            raise MisconfigurationException(message)
        if dtype is its_dtype:
            own = {key: value for key, value in config.get(section, {}).items() if value != "auto"}
            config[section] = {**(scaling(options) if section == "fp16" else {}), **own, "enabled": True}
        else:
            config.pop(section, None)
    for key in ("gradient_accumulation_steps", "gradient_clipping", "managed_gradient_accumulation"):
        config.pop(key, None)
    sizes = ("train_batch_size", "train_micro_batch_size_per_gpu")
    for key in sizes:
        if config.get(key) == "auto":
            config.pop(key)
    if not any(key in config for key in sizes):
        size = options.logging_batch_size_per_gpu
        config["train_micro_batch_size_per_gpu"] = 1 if size == "auto" else size
    config["gradient_accumulation_steps"] = 1  # the window divides by what it really holds
    config["gradient_clipping"] = 0.0  # DeepSpeed's own default is to clip
    return config


def engine_dtype(precision: Precision) -> torch.dtype:
    """Return the format in which the engine keeps parameters and computes."""
    dtypes = precision.dtypes()
    for asked in (dtypes.param, dtypes.compute):
        if asked is not None and asked in _DTYPES.values():
            return asked
    for prefix, dtype in (("bf16", torch.bfloat16), ("16", torch.float16)):
        if precision.precision.startswith(prefix):
            return dtype
    return torch.float32


def _source(options: ZeroOptions, given: Mapping[str, Any] | str | os.PathLike[str] | None) -> Source:
    if isinstance(given, Mapping):
        return Source("`config`", deepcopy(dict(given)), is_own=True, options=options)
    if given is not None:
        return Source(f"`config={os.fspath(given)!r}`", _read(given, "`config`"), is_own=True, options=options)
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Source(
            f"The file of {CONFIG_VARIABLE}, {named!r},", _read(named, CONFIG_VARIABLE), is_own=True, options=options
        )
    return Source("The config made from the arguments", generated(options), is_own=False, options=options)


def _read(path: str | os.PathLike[str], argument: str) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        message = f"{argument} names the DeepSpeed config {os.fspath(path)!r}, which isn't there."
        raise FileNotFoundError(message)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        message = f"{argument} names {os.fspath(path)!r}, which isn't JSON: {error}."
        raise MisconfigurationException(message) from error
    if not isinstance(content, dict):
        message = f"{argument} names {os.fspath(path)!r}, which holds {type(content).__name__} instead of an object."
        raise MisconfigurationException(message)
    return content


def _refuse_owned_keys(source: Source) -> None:
    for key, (harmless, decided_by) in _OWNED.items():
        value = source.content.get(key, MISSING)
        if value is not MISSING and value not in harmless:
            message = (
                f"{source.name} has `{key}: {value!r}`, but that is decided by {decided_by}. Remove it from the config."
            )
            raise MisconfigurationException(message)
    stage = found_at(source.content, ("zero_optimization", "stage"))
    if stage not in (1, 2, 3):
        found = "no `zero_optimization: {stage: ...}`" if stage is MISSING else f"`zero_optimization: stage: {stage!r}`"
        message = f"{source.name} has {found}; the stage must be 1, 2 or 3. Without ZeRO use `strategy='ddp'`."
        raise MisconfigurationException(message)


def _contradictions(source: Source) -> Iterator[str]:
    """Return a message for each argument that the user changed and the config doesn't follow."""
    for field in fields(source.options):
        value = getattr(source.options, field.name)
        if value == field.default:
            continue
        for place, wanted in settings(source.options, field.name).items():
            found = found_at(source.content, place)
            if found != wanted:
                key = ": ".join(place)
                says = f"doesn't have `{key}`" if found is MISSING else f"has `{key}: {found!r}`"
                yield (
                    f"`DeepSpeedStrategy({field.name}={value!r})` was given, but {source.name} {says}. Say it in one"
                    " place: a config is taken as it is."
                )
