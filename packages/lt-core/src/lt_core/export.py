"""Turning a module into a form that runs without Python or without lt: ONNX, torch.export, TorchScript, TensorRT.

Every function puts the module into evaluation mode while it works and gives each submodule its own mode back. A
sample is one argument (a tensor), several (a tuple) or named ones (a dict); without one the module's
``example_input_array`` is taken. ``transfer`` is applied to it first: a ``LightningModule`` passes the hooks that its
batches go through on their way to the device.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import nn

from lt_interfaces.errors import MisconfigurationException, missing_package
from lt_interfaces.moving import move_data_to_device
from lt_interfaces.rank_zero import rank_zero_deprecation

FilePath = str | os.PathLike[str]
Transfer = Callable[[Any], Any]

_OUTPUT_FORMATS: Final = ("exported_program", "torchscript")


def to_onnx(
    module: nn.Module,
    file_path: FilePath | None = None,
    input_sample: Any = None,
    *,
    transfer: Transfer | None = None,
    **kwargs: Any,
) -> Any:
    """Export to ONNX with torch's exporter, the one built on ``torch.export`` unless ``dynamo=False``.

    Args:
        module: what to export.
        file_path: where to write; ``None`` writes nothing, which only ``dynamo=True`` can do.
        input_sample: what to trace with.
        transfer: applied to the sample.
        kwargs: passed to `torch.onnx.export`, for instance ``dynamic_shapes`` or ``opset_version``.

    Returns:
        the ``ONNXProgram`` (``None`` with ``dynamo=False``).

    Raises:
        ModuleNotFoundError: ``onnx``, or ``onnxscript`` for ``dynamo=True``, isn't installed.
        ValueError: neither a sample nor an ``example_input_array``, or no ``file_path`` with ``dynamo=False``.
    """
    settings = {"dynamo": True, "verbose": False, **kwargs}
    for package in ("onnx", "onnxscript") if settings["dynamo"] else ("onnx",):
        if find_spec(package) is None:
            missing = missing_package(package, "`to_onnx`", '"lt-core[onnx]"')
            raise missing
    if file_path is None and not settings["dynamo"]:
        message = "`to_onnx(dynamo=False)` only writes to a file: pass `file_path`."
        raise ValueError(message)
    args, named = _call_arguments(_sample(module, input_sample, argument="input_sample", transfer=transfer))
    target = None if file_path is None else os.fspath(file_path)
    with _evaluating(module), warnings.catch_warnings():
        # The choice of the older exporter was the caller's; torch's advice against it would come with every call.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.onnx.export(module, args, target, kwargs=named, **settings)


def to_exported_program(
    module: nn.Module,
    file_path: FilePath | None = None,
    input_sample: Any = None,
    *,
    transfer: Transfer | None = None,
    **kwargs: Any,
) -> torch.export.ExportedProgram:
    """Export with `torch.export`; the result runs, loads and compiles without the module's class.

    Args:
        module: what to export.
        file_path: where to write, ending in ``.pt2``; `torch.export.load` reads it.
        input_sample: what to trace with.
        transfer: applied to the sample.
        kwargs: passed to `torch.export.export`, for instance ``dynamic_shapes`` or ``strict``.

    Raises:
        ValueError: neither a sample nor an ``example_input_array``, or another suffix.

    >>> program = to_exported_program(nn.Linear(4, 2), input_sample=torch.zeros(3, 4))
    >>> program.module()(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    if file_path is not None and not os.fspath(file_path).endswith(".pt2"):
        message = f"`file_path` of an exported program must end in .pt2, but {str(file_path)!r} was given."
        raise ValueError(message)
    args, named = _call_arguments(_sample(module, input_sample, argument="input_sample", transfer=transfer))
    with _evaluating(module):
        program = torch.export.export(module, args, named, **kwargs)
    if file_path is not None:
        torch.export.save(program, file_path)
    return program


def to_torchscript(
    module: nn.Module,
    file_path: FilePath | None = None,
    method: str | None = "script",
    example_inputs: Any = None,
    *,
    transfer: Transfer | None = None,
    **kwargs: Any,
) -> Any:
    """Compile to TorchScript, which torch has deprecated; prefer `to_exported_program`.

    Args:
        module: what to compile.
        file_path: where to write; `torch.jit.load` reads it.
        method: ``"script"`` compiles the code, ``"trace"`` records one run.
        example_inputs: what to trace with; only for ``"trace"``.
        transfer: applied to the example.
        kwargs: passed to `torch.jit.script` or `torch.jit.trace`.

    Raises:
        ValueError: another method, or ``"trace"`` with neither an example nor an ``example_input_array``.
    """
    if method not in ("script", "trace"):
        message = f"`method` must be 'script' or 'trace', but {method!r} was given."
        raise ValueError(message)
    rank_zero_deprecation(
        "`to_torchscript` is deprecated, as TorchScript is in torch. Use `to_exported_program`, or `to_onnx`."
    )
    with _evaluating(module), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch would say the same again, about its own functions
        if method == "script":
            script = torch.jit.script(module, **kwargs)
        else:
            args, named = _call_arguments(_sample(module, example_inputs, argument="example_inputs", transfer=transfer))
            inputs = {"example_kwarg_inputs": named} if named else {"example_inputs": args}
            script = torch.jit.trace(module, **inputs, **kwargs)  # type: ignore[no-untyped-call]  # torch's own
        if file_path is not None:
            torch.jit.save(script, os.fspath(file_path))
    return script


def to_tensorrt(
    module: nn.Module,
    file_path: FilePath | None = None,
    input_sample: Any = None,
    *,
    transfer: Transfer | None = None,
    output_format: str = "exported_program",
    **settings: Any,
) -> Any:
    """Compile with TensorRT for NVIDIA GPUs; needs ``torch_tensorrt`` and a CUDA device.

    Args:
        module: what to compile.
        file_path: where to write.
        input_sample: what to compile for.
        transfer: applied to the sample.
        output_format: of the file, ``"exported_program"`` or ``"torchscript"``.
        settings: ``ir`` ("default", "dynamo" or "ts"), ``retrace``, ``default_device`` ("cuda") and whatever else
            ``torch_tensorrt.compile`` takes.

    Raises:
        ModuleNotFoundError: ``torch_tensorrt`` isn't installed.
        MisconfigurationException: there's no CUDA device, or another ``output_format``.
        ValueError: neither a sample nor an ``example_input_array``.
    """
    if find_spec("torch_tensorrt") is None:
        missing = missing_package("torch_tensorrt", "`to_tensorrt`", "torch-tensorrt")
        raise missing
    if output_format not in _OUTPUT_FORMATS:
        message = f"`output_format` must be one of {_OUTPUT_FORMATS}, but {output_format!r} was given."
        raise MisconfigurationException(message)
    device = torch.device(settings.pop("default_device", "cuda"))
    if device.type != "cuda" or not torch.cuda.is_available():
        message = f"`to_tensorrt` compiles on a CUDA device, but `default_device` is {str(device)!r}"
        message += "." if torch.cuda.is_available() else " and torch finds no CUDA device."
        raise MisconfigurationException(message)
    tensorrt = import_module("torch_tensorrt")  # imported here: a heavy optional package
    retrace = settings.pop("retrace", False)
    sample = _sample(module, input_sample, argument="input_sample", transfer=transfer)
    args, named = _call_arguments(move_data_to_device(sample, device))
    with _evaluating(module):
        compiled = tensorrt.compile(
            module.to(device), ir=settings.pop("ir", "default"), arg_inputs=args, kwarg_inputs=named, **settings
        )
        if file_path is not None:
            tensorrt.save(
                compiled,
                os.fspath(file_path),
                arg_inputs=args,
                kwarg_inputs=named,
                output_format=output_format,
                retrace=retrace,
            )
    return compiled


def _sample(module: nn.Module, given: Any, *, argument: str, transfer: Transfer | None) -> Any:
    sample = getattr(module, "example_input_array", None) if given is None else given
    if sample is None:
        message = f"Exporting needs an input to follow: pass `{argument}` or set `self.example_input_array`."
        raise ValueError(message)
    return sample if transfer is None else transfer(sample)


def _call_arguments(sample: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(sample, dict):
        return (), sample
    return (tuple(sample) if isinstance(sample, tuple | list) else (sample,)), {}


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
