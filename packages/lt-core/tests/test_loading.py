from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lt_core.loading import load_from_checkpoint
from lt_interfaces.hyperparameters import HyperparametersMixin
from lt_interfaces.plain_values import to_plain


class Net(HyperparametersMixin, nn.Module):
    """What `load_from_checkpoint` asks of a module, and no more."""

    _strict_loading: bool | None = None

    def __init__(self, width: int, root: Path | None = None, lazy: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.root = root
        self.seen: list[str] = []
        self.layer = None if lazy else nn.Linear(width, 1)

    @property
    def strict_loading(self) -> bool:
        return self._strict_loading is not False

    def configure_model(self) -> None:
        self.seen.append("configure_model")
        if self.layer is None:
            self.layer = nn.Linear(self.hparams.width, 1)

    def to(self, device: Any) -> "Net":
        self.seen.append(f"to {device}")
        return super().to(device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seen.append(f"on_load_checkpoint {sorted(checkpoint)}")


class Lenient(Net):
    _strict_loading = False


@pytest.fixture
def trained() -> Net:
    return Net(width=3, root=Path("data"))


@pytest.fixture
def file(trained: Net, tmp_path: Path) -> Path:
    path = tmp_path / "net.ckpt"
    hparams = to_plain(dict(trained.hparams), "hyper_parameters")
    torch.save({"state_dict": trained.state_dict(), "hyper_parameters": hparams, "hparams_name": "kwargs"}, path)
    return path


def test_module_comes_back_with_its_arguments_and_weights(trained: Net, file: Path) -> None:
    loaded = load_from_checkpoint(Net, file)
    assert loaded.hparams == {"width": 3, "root": Path("data"), "lazy": False}
    torch.testing.assert_close(loaded.state_dict(), trained.state_dict())


def test_files_of_other_tools_need_no_version_and_no_hyperparameters(trained: Net, tmp_path: Path) -> None:
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "weights.ckpt")
    assert load_from_checkpoint(Net, tmp_path / "weights.ckpt", width=3).hparams.width == 3


def test_layers_made_late_are_made_before_hook_and_weights(trained: Net, file: Path) -> None:
    loaded = load_from_checkpoint(Net, file, lazy=True)
    assert loaded.seen[:2] == [
        "configure_model",
        "on_load_checkpoint ['hparams_name', 'hyper_parameters', 'state_dict']",
    ]
    torch.testing.assert_close(loaded.state_dict(), trained.state_dict())


def test_file_of_hyperparameters_beats_the_checkpoint_and_keywords_beat_both(file: Path, tmp_path: Path) -> None:
    (tmp_path / "hparams.yaml").write_text("root: elsewhere\nlazy: true\n")
    loaded = load_from_checkpoint(Net, file, hparams_file=tmp_path / "hparams.yaml", lazy=False)
    assert loaded.hparams == {"width": 3, "root": "elsewhere", "lazy": False}


def test_other_weights_are_refused_or_told(trained: Net, tmp_path: Path) -> None:
    weights = {"layer.weight": trained.state_dict()["layer.weight"], "more": torch.zeros(1)}
    torch.save({"state_dict": weights, "hyper_parameters": {"width": 3}}, tmp_path / "net.ckpt")
    with pytest.raises(RuntimeError, match="1 key missing"):
        load_from_checkpoint(Net, tmp_path / "net.ckpt")
    with (
        pytest.warns(UserWarning, match=r"isn't in the checkpoint: `layer\.bias`"),
        pytest.warns(UserWarning, match="isn't in the module: `more`"),
    ):
        load_from_checkpoint(Net, tmp_path / "net.ckpt", strict=False)
    with pytest.warns(UserWarning, match="isn't in the"):
        load_from_checkpoint(Lenient, tmp_path / "net.ckpt")


def test_strict_must_not_contradict_the_module(file: Path) -> None:
    with pytest.raises(ValueError, match="`strict=True` contradicts the module"):
        load_from_checkpoint(Lenient, file, strict=True)
    assert load_from_checkpoint(Lenient, file, strict=False).hparams.width == 3


def test_empty_weights_warn(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"width": 3}}, tmp_path / "net.ckpt")
    with pytest.warns(UserWarning, match="keeps the weights it was made with"):
        load_from_checkpoint(Net, tmp_path / "net.ckpt")


def test_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "net.ckpt")
    with pytest.raises(KeyError, match="`state_dict` isn't among"):
        load_from_checkpoint(Net, tmp_path / "net.ckpt")


def test_module_lands_on_the_device_of_its_weights(file: Path) -> None:
    assert load_from_checkpoint(Net, file, map_location="cpu").seen[-1] == "to cpu"


@pytest.mark.gpu
def test_module_lands_where_map_location_puts_its_weights(file: Path) -> None:
    assert load_from_checkpoint(Net, file, map_location="cuda").layer.weight.device.type == "cuda"
