"""A run that failed goes on from the checkpoint of `OnExceptionCheckpoint`, without anybody naming it."""

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_callbacks import Callback, ModelCheckpoint, OnExceptionCheckpoint
from lt_core import LightningModule, Trainer
from lt_interfaces.errors import SIGTERMException

DATA = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))


class Net(LightningModule):
    """Fails where it's told to: after so many steps in a hook of training, or when it validates."""

    def __init__(self, *, fails_at: int | None = None, hook: str = "training_step") -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 1))
        self.fails_at, self.hook = fails_at, hook
        self.seen: list[tuple[int, int]] = []

    def fail_in(self, hook: str) -> None:
        if hook == self.hook and self.global_step == self.fails_at:
            message = "pulled the plug"
            raise RuntimeError(message)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.fail_in("training_step")
        self.seen.append((self.current_epoch, batch_idx))
        return self.layer(batch).square().mean()

    def on_train_batch_end(self, *args: Any) -> None:
        self.fail_in("on_train_batch_end")

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.fail_in("validation_step")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def fit(root: Path, *callbacks: Callback, net: Net | None = None, ckpt_path: Any = None, **arguments: Any) -> Net:
    warnings.simplefilter("ignore")
    net = net or Net()
    torch.manual_seed(1)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        **{"max_epochs": 2, "callbacks": [*callbacks], **arguments},
    )
    data = DataLoader(DATA, batch_size=2, shuffle=True)  # type: ignore[var-annotated,arg-type]
    trainer.fit(net, data, DataLoader(DATA, batch_size=5), ckpt_path=ckpt_path)  # type: ignore[arg-type]
    return net


def weights(net: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def fail(root: Path, *callbacks: Callback, **where: Any) -> Net:
    net = Net(**where)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        fit(root, *callbacks, net=net)
    return net


@pytest.mark.parametrize(
    ("hook", "fails_at", "left"),
    [
        ("training_step", 3, [(0, 3), (0, 4)]),
        ("on_train_batch_end", 3, [(0, 3), (0, 4)]),
        ("training_step", 7, []),
        ("validation_step", 5, []),
    ],
)
def test_c35_a_failed_run_goes_on_where_it_failed(
    hook: str, fails_at: int, left: list[tuple[int, int]], tmp_path: Path
) -> None:
    callback = OnExceptionCheckpoint(tmp_path / "failed")
    first = fail(tmp_path, callback, fails_at=fails_at, hook=hook)
    assert Path(callback.ckpt_path).exists()
    again = fit(tmp_path, OnExceptionCheckpoint(tmp_path / "failed"))
    assert [place for place in again.seen if place[0] == 0] == left
    assert first.seen + again.seen == [(epoch, batch) for epoch in range(2) for batch in range(5)]
    assert not Path(callback.ckpt_path).exists()


def test_the_run_that_goes_on_equals_one_that_never_failed(tmp_path: Path) -> None:
    fail(tmp_path, OnExceptionCheckpoint(tmp_path), fails_at=3)
    assert torch.equal(weights(fit(tmp_path, OnExceptionCheckpoint(tmp_path))), weights(fit(tmp_path)))


def test_a_run_that_fails_again_before_its_first_batch_loses_nothing(tmp_path: Path) -> None:
    class FailsInSetup(Callback):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            message = "no such data"
            raise OSError(message)

    callback = OnExceptionCheckpoint(tmp_path)
    fail(tmp_path, callback, fails_at=3)
    with pytest.raises(OSError, match="no such data"):
        fit(tmp_path, FailsInSetup(), OnExceptionCheckpoint(tmp_path))
    assert fit(tmp_path, OnExceptionCheckpoint(tmp_path)).seen[0] == (0, 3)


def test_a_run_after_one_that_succeeded_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        net = fit(tmp_path, OnExceptionCheckpoint(tmp_path), ModelCheckpoint(tmp_path / "kept", save_last=True))
        assert net.seen[0] == (0, 0)


def test_a_run_that_is_told_to_end_goes_on_and_the_one_after_it_begins_anew(tmp_path: Path) -> None:
    class Told(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SIGTERMException):
        fit(tmp_path, Told(), OnExceptionCheckpoint(tmp_path))
    begins = [fit(tmp_path, OnExceptionCheckpoint(tmp_path)).seen[0] for _ in range(2)]
    assert begins == [(0, 3), (0, 0)]


def test_a_newer_last_checkpoint_comes_first(tmp_path: Path) -> None:
    def kept() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path / "kept", save_last=True, every_n_train_steps=2)

    failed = OnExceptionCheckpoint(tmp_path / "failed")
    fail(tmp_path, failed, kept(), fails_at=3)
    newer = Path(failed.ckpt_path).stat().st_mtime + 10
    last = tmp_path / "kept" / "last.ckpt"
    os.utime(last, (newer, newer))
    assert fit(tmp_path, OnExceptionCheckpoint(tmp_path / "failed"), kept()).seen[0] == (0, 2)


def test_a_checkpoint_that_is_named_comes_before_that_of_the_failed_run(tmp_path: Path) -> None:
    class SavesFirst(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 1:
                trainer.save_checkpoint(tmp_path / "first.ckpt")

    fail(tmp_path, SavesFirst(), OnExceptionCheckpoint(tmp_path), fails_at=3)
    net = fit(tmp_path, OnExceptionCheckpoint(tmp_path), ckpt_path=tmp_path / "first.ckpt")
    assert net.seen[0] == (0, 1)


def test_it_stands_for_a_checkpoint_callback_that_the_trainer_need_not_add(tmp_path: Path) -> None:
    trainer = Trainer(accelerator="cpu", callbacks=[OnExceptionCheckpoint(tmp_path)], default_root_dir=tmp_path)
    assert [type(callback) for callback in trainer.checkpoint_callbacks] == [OnExceptionCheckpoint]
