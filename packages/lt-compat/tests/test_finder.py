import importlib
import importlib.metadata
import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import lt_callbacks
import lt_core
import lt_fabric
from lt_compat.distributions import NAMES
from lt_compat.modules import ROOTS
from lt_compat.names import LIGHTNING_VERSION
from lt_core.checkpointing.lightning_format import WRITTEN_AS
from lt_interfaces.hyperparameters import AttributeDict

pytestmark = pytest.mark.usefixtures("lightning_names")


def imported(statement: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(statement, names)
    return names


@pytest.mark.parametrize(
    ("statement", "expression"),
    [
        ("import lightning as L", "L.Trainer"),
        ("import lightning", "lightning.pytorch.Trainer"),
        ("import lightning.pytorch as pl", "pl.Trainer"),
        ("import pytorch_lightning as pl", "pl.Trainer"),
        ("import pytorch_lightning", "pytorch_lightning.trainer.Trainer"),
        ("import lightning.pytorch.trainer.trainer", "lightning.pytorch.trainer.trainer.Trainer"),
        ("from lightning.pytorch import Trainer as T", "T"),
        ("from lightning.pytorch.trainer.trainer import Trainer", "Trainer"),
        ("from pytorch_lightning import *", "Trainer"),
        ("import importlib; pl = importlib.import_module('lightning.pytorch')", "pl.Trainer"),
        ("from lightning import pytorch", "pytorch.Trainer"),
    ],
)
def test_every_way_to_import_the_trainer_gives_the_same_class(statement: str, expression: str) -> None:
    assert eval(expression, imported(statement)) is lt_core.Trainer


def test_a_class_is_one_class_under_all_three_roots() -> None:
    roots = imported("import lightning, pytorch_lightning, lightning_fabric, lightning.fabric")
    lightning, pytorch_lightning = roots["lightning"], roots["pytorch_lightning"]
    stopping = lt_callbacks.EarlyStopping("loss")
    for way in (lightning.pytorch.callbacks, pytorch_lightning.callbacks.early_stopping):  # type: ignore[attr-defined]
        assert isinstance(stopping, way.EarlyStopping)
    assert lightning.fabric.Fabric is roots["lightning_fabric"].Fabric is lt_fabric.Fabric  # type: ignore[attr-defined]


def test_modules_offer_their_names_to_look_through_and_to_star_imports() -> None:
    callbacks = importlib.import_module("lightning.pytorch.callbacks")
    assert {"EarlyStopping", "Timer", "early_stopping"} <= set(dir(callbacks))
    assert "EarlyStopping" in callbacks.__all__
    assert "early_stopping" not in callbacks.__all__


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("from lightning.pytorch.callbacks import EarlyStoping", "Did you mean `EarlyStopping`?"),
        ("import lightning.pytorch.calbacks", "Did you mean `callbacks`?"),
        ("import lightning.pytorch.callbacks.early_stoping", "Did you mean `early_stopping`?"),
        ("from pytorch_lightning import Trianer", "`pytorch_lightning.Trianer`"),
        ("import lightning.nonsense.deeper", "`lightning.nonsense`"),
        ("from lightning.pytorch.profilers import XLAProfiler", "lt has no .* lt doesn't run on TPUs."),
        ("from lightning.pytorch.loops.fit_loop import _FitLoop", "private .* `global_step`"),
        (
            "import lightning.pytorch.trainer.connectors.data_connector",
            "`lightning.pytorch.trainer.connectors` is private",
        ),
        ("from lightning.pytorch.callbacks.timer import _secret", "private"),
    ],
)
def test_what_is_not_there_says_why_and_what_to_use(statement: str, words: str) -> None:
    with pytest.raises(ImportError, match=words):
        exec(statement, {})


def test_what_is_not_there_is_no_attribute() -> None:
    loops = importlib.import_module("lightning.pytorch")
    assert not hasattr(loops, "Nonsense")
    assert not hasattr(importlib.import_module("lightning.pytorch.profilers"), "XLAProfiler")
    assert getattr(loops, "__file__", None) is None


def test_an_error_inside_an_owner_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lt_callbacks", None)
    with pytest.raises(ModuleNotFoundError, match="lt_callbacks"):
        exec("from lightning.pytorch.callbacks import EarlyStopping", {})


def test_pickles_that_mention_lightning_come_back_as_ours() -> None:
    assert pickle.loads(b"clightning.pytorch.callbacks.timer\nTimer\n.") is lt_callbacks.Timer


def test_checkpoints_that_mention_lightning_load_where_pickles_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as as_lightning:
        as_lightning.setattr(AttributeDict, "__module__", "lightning.pytorch.utilities.parsing")
        torch.save({"hyper_parameters": AttributeDict(width=3)}, tmp_path / "theirs.ckpt")
    assert b"lightning.pytorch.utilities.parsing" in (tmp_path / "theirs.ckpt").read_bytes()
    loaded = torch.load(tmp_path / "theirs.ckpt", weights_only=False)
    assert type(loaded["hyper_parameters"]) is AttributeDict
    assert loaded["hyper_parameters"].width == 3


def test_version_is_that_of_the_files_we_write() -> None:
    assert LIGHTNING_VERSION == WRITTEN_AS
    for root in (*ROOTS, "lightning.pytorch", "lightning.fabric"):
        assert importlib.import_module(root).__version__ == LIGHTNING_VERSION
    for spelling in (*NAMES, "pytorch_lightning", "Lightning"):
        assert importlib.metadata.version(spelling) == LIGHTNING_VERSION
    assert importlib.metadata.metadata("lightning")["Name"] == "lightning"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("lightning-nonsense")


def test_modules_of_others_are_left_to_others() -> None:
    finder = sys.meta_path[0]
    for name in ("lightning_utilities", "lightningx.pytorch", "torch.nn"):
        assert finder.find_spec(name, None) is None  # type: ignore[union-attr]


def test_modules_are_ordinary_to_the_import_system() -> None:
    module = importlib.import_module("lightning.pytorch.callbacks")
    assert isinstance(module, ModuleType)
    assert importlib.util.find_spec("lightning.pytorch.callbacks") is module.__spec__
    assert importlib.reload(module) is module
