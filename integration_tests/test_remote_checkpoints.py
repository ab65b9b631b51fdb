"""Runs whose checkpoints go to an S3 server: saved by `ModelCheckpoint`, removed, and gone on from."""

import uuid
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
import torch
from moto.server import ThreadedMotoServer
from torch.utils.data import DataLoader

from lt_callbacks import ModelCheckpoint
from lt_checkpoint_io import AsyncCheckpointIO, TorchCheckpointIO
from lt_core import LightningModule, Trainer
from lt_fabric import seed_everything
from lt_interfaces import CheckpointIO
from lt_interfaces.testing import RegressionDataset, TinyRegressor


class Regression(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = TinyRegressor()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.network(inputs), targets)
        self.log("loss", loss)
        self.log("falling", -float(self.global_step))
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty bucket that's reached by what the environment says."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    fsspec.filesystem("s3").clear_instance_cache()
    name = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"


def train(*callbacks: Any, epochs: int, ckpt_path: str | None = None, **arguments: Any) -> tuple[Trainer, Regression]:
    seed_everything(3, verbose=False)
    model = Regression()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, callbacks=list(callbacks), **quiet, **arguments)
    loader = DataLoader(RegressionDataset(4, 24), batch_size=8, shuffle=True)
    trainer.fit(model, loader, ckpt_path=ckpt_path)
    return trainer, model


def stored(folder: str) -> list[str]:
    return sorted(found.path for found in TorchCheckpointIO().stored(folder))


@pytest.mark.parametrize("make", [TorchCheckpointIO, AsyncCheckpointIO])
def test_a_run_goes_on_from_a_bucket_as_if_it_had_never_stopped(bucket: str, make: type[CheckpointIO]) -> None:
    _, whole = train(epochs=4, enable_checkpointing=False)
    train(ModelCheckpoint(f"{bucket}/run", save_last=True), epochs=2, plugins=[make()])
    assert stored(f"{bucket}/run") == [f"{bucket}/run/epoch=1-step=6.ckpt", f"{bucket}/run/last.ckpt"]
    kept = ModelCheckpoint(f"{bucket}/run", save_top_k=0)
    trainer, resumed = train(kept, epochs=4, ckpt_path=f"{bucket}/run/last.ckpt")
    assert trainer.global_step == 12
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name])


@pytest.mark.parametrize("make", [TorchCheckpointIO, AsyncCheckpointIO])
def test_the_best_are_kept_and_the_others_removed(bucket: str, make: type[CheckpointIO]) -> None:
    checkpoint = ModelCheckpoint(f"{bucket}/run/", monitor="falling", save_top_k=2, every_n_epochs=1)
    train(checkpoint, epochs=4, plugins=[make()])
    assert stored(f"{bucket}/run") == [f"{bucket}/run/epoch={epoch}-step={3 * epoch + 3}.ckpt" for epoch in (2, 3)]
    assert checkpoint.best_model_path == f"{bucket}/run/epoch=3-step=12.ckpt"
    hidden = fsspec.filesystem("s3").find(f"{bucket}/run")
    assert len(hidden) == 4, hidden  # each with its manifest


def test_a_name_that_is_taken_gets_a_version(bucket: str) -> None:
    for _ in range(2):
        train(ModelCheckpoint(f"{bucket}/run", filename="model"), epochs=1)
    assert stored(f"{bucket}/run") == [f"{bucket}/run/model-v1.ckpt", f"{bucket}/run/model.ckpt"]


def test_the_books_survive_a_resume_and_forget_what_is_gone(bucket: str) -> None:
    first = ModelCheckpoint(f"{bucket}/run", monitor="falling", save_top_k=3, save_last=True)
    train(first, epochs=2)
    TorchCheckpointIO().remove_checkpoint(f"{bucket}/run/epoch=0-step=3.ckpt")
    second = ModelCheckpoint(f"{bucket}/run", monitor="falling", save_top_k=3, save_last=True)
    with pytest.warns(UserWarning, match="forgets checkpoints that don't exist any more.*epoch=0"):
        train(second, epochs=3, ckpt_path=f"{bucket}/run/last.ckpt")
    assert sorted(second.best_k_models) == [f"{bucket}/run/epoch={epoch}-step={3 * epoch + 3}.ckpt" for epoch in (1, 2)]
    assert second.last_model_path == f"{bucket}/run/last.ckpt"


def test_checkpoints_go_below_a_remote_root(bucket: str) -> None:
    trainer, _ = train(epochs=1, default_root_dir=f"{bucket}/root")
    assert stored(f"{bucket}/root/checkpoints") == [f"{bucket}/root/checkpoints/epoch=0-step=3.ckpt"]
    assert trainer.has_checkpoint(f"{bucket}/root/checkpoints/epoch=0-step=3.ckpt")


def test_a_link_to_the_newest_is_refused(bucket: str) -> None:
    with pytest.raises(ValueError, match=r"`save_last='link'` needs a local `dirpath`.*save_last=True"):
        train(ModelCheckpoint(f"{bucket}/run", save_last="link"), epochs=1)


@pytest.mark.parametrize("make", [TorchCheckpointIO, AsyncCheckpointIO])
def test_a_run_whose_bucket_is_missing_says_so(endpoint: str, bucket: str, make: type[CheckpointIO]) -> None:
    with pytest.raises(OSError, match=r"s3://nobodys-bucket/run/epoch=0-step=3\.ckpt` can't be written"):
        train(ModelCheckpoint("s3://nobodys-bucket/run"), epochs=2, plugins=[make()])
