import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lt_core.export import to_exported_program, to_onnx, to_tensorrt, to_torchscript
from lt_interfaces.errors import MisconfigurationException


class Net(nn.Module):
    """A module whose output tells whether it ran in training mode."""

    def __init__(self, example: Any = None) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.dropout = nn.Dropout(0.9)
        self.example_input_array = example

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.layer(x))
        return out


class Named(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + 2 * y


SAMPLE = torch.ones(2, 3)


def run_onnx(file: Path, *inputs: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    return torch.from_numpy(session.run(None, feed)[0])


@pytest.mark.parametrize("dynamo", [True, False])
def test_onnx_file_computes_what_the_module_computes(tmp_path: Path, dynamo: bool) -> None:
    net = Net()
    file = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        # onnxscript and torch's exporter warn about each other's internals
        warnings.simplefilter("ignore")
        to_onnx(net, file, SAMPLE, dynamo=dynamo)
    onnx.checker.check_model(onnx.load(file))
    torch.testing.assert_close(run_onnx(file, SAMPLE), net.eval()(SAMPLE).detach())


def test_onnx_program_needs_no_file() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = to_onnx(Net(example=SAMPLE))
    assert program.model.graph.num_nodes() > 0


def test_older_onnx_exporter_needs_a_file() -> None:
    with pytest.raises(ValueError, match="pass `file_path`"):
        to_onnx(Net(), None, SAMPLE, dynamo=False)


def test_onnx_without_its_packages_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lt_core.export.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "lt-core\[onnx\]"'):
        to_onnx(Net(), None, SAMPLE)


def test_exported_program_computes_what_the_module_computes(tmp_path: Path) -> None:
    net = Net(example=SAMPLE)
    to_exported_program(net, tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(loaded(SAMPLE), net.eval()(SAMPLE))


@pytest.mark.parametrize("sample", [(SAMPLE, SAMPLE), {"x": SAMPLE, "y": SAMPLE}])
def test_samples_may_be_several_arguments_or_named_ones(sample: Any) -> None:
    program = to_exported_program(Named(), input_sample=sample).module()
    out = program(**sample) if isinstance(sample, dict) else program(*sample)
    assert out.unique().item() == 3


def test_exported_program_wants_its_suffix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.pt2"):
        to_exported_program(Net(), tmp_path / "net.pt", SAMPLE)


@pytest.mark.parametrize("method", ["script", "trace"])
def test_torchscript_computes_what_the_module_computes_and_is_deprecated(tmp_path: Path, method: str) -> None:
    net = Net()
    net.example_input_array = SAMPLE if method == "trace" else None
    with pytest.warns(DeprecationWarning, match="Use `to_exported_program`"):
        to_torchscript(net, tmp_path / "net.pt", method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loaded = torch.jit.load(str(tmp_path / "net.pt"))
    torch.testing.assert_close(loaded.eval()(SAMPLE), net.eval()(SAMPLE))


@pytest.mark.filterwarnings("ignore:.*to_exported_program:DeprecationWarning")
def test_torchscript_traces_named_arguments_and_refuses_other_methods() -> None:
    traced = to_torchscript(Named(), method="trace", example_inputs={"x": SAMPLE, "y": SAMPLE.clone()})
    assert traced(SAMPLE, SAMPLE).unique().item() == 3
    with pytest.raises(ValueError, match="`method` must be 'script' or 'trace'"):
        to_torchscript(Net(), method="compile")


EXPORTS: list[Callable[..., Any]] = [
    to_exported_program,
    lambda *args, **kw: to_torchscript(*args, method="trace", **kw),
]


@pytest.mark.filterwarnings("ignore:.*to_exported_program:DeprecationWarning")
@pytest.mark.parametrize("export", EXPORTS)
def test_each_submodule_gets_its_mode_back(export: Callable[..., Any]) -> None:
    net = Net(example=SAMPLE).train()
    net.dropout.eval()
    export(net)
    assert (net.training, net.layer.training, net.dropout.training) == (True, True, False)
    broken = Net(example=torch.ones(2, 7)).train()
    with pytest.raises(RuntimeError):
        export(broken)
    assert broken.dropout.training


@pytest.mark.filterwarnings("ignore:.*to_exported_program:DeprecationWarning")
@pytest.mark.parametrize("export", [to_onnx, *EXPORTS])
def test_exporting_needs_a_sample(export: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"set `self\.example_input_array`"):
        export(Net())


def test_sample_goes_through_the_transfer_hooks() -> None:
    seen = []

    def transfer(sample: Tensor) -> Tensor:
        seen.append(sample)
        return sample.float()

    doubles = SAMPLE.double()
    to_exported_program(Net(), input_sample=doubles, transfer=transfer)
    assert seen[0] is doubles


def test_tensorrt_without_its_package_names_the_install_line() -> None:
    with pytest.raises(ModuleNotFoundError, match="pip install torch-tensorrt"):
        to_tensorrt(Net(), None, SAMPLE)


def test_tensorrt_refuses_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lt_core.export.find_spec", lambda name: sys)
    with pytest.raises(MisconfigurationException, match="`output_format` must be one of"):
        to_tensorrt(Net(), None, SAMPLE, output_format="onnx")
    with pytest.raises(MisconfigurationException, match="`default_device` is 'cpu'"):
        to_tensorrt(Net(), None, SAMPLE, default_device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(MisconfigurationException, match="torch finds no CUDA device"):
            to_tensorrt(Net(), None, SAMPLE)
