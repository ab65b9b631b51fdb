"""PyTorch Forecasting: a temporal fusion transformer learns waves, and the second version's model by its own `fit`."""

import os
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.data import GroupNormalizer
from pytorch_forecasting.data.timeseries import TimeSeries
from pytorch_forecasting.metrics import MAE, QuantileLoss
from pytorch_forecasting.models.dlinear._dlinear_pkg_v2 import DLinear_pkg_v2
from pytorch_forecasting.tuning import Tuner
from telling import Story, logged, tell
from torch.utils.data import DataLoader

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False}


def waves(length: int = 40, series: int = 3) -> pd.DataFrame:
    """Return noisy waves on slopes, one row for each time and series."""
    rng = np.random.default_rng(5)
    time = np.arange(length)
    parts = [
        pd.DataFrame(
            {
                "time": time,
                "series": f"wave {k}",
                "season": (time % 4).astype(str),
                "price": np.cos(time / 3 + k),
                "value": 5 + k + 0.05 * time + np.sin(time / 2 + k) + rng.normal(0, 0.05, length),
            }
        )
        for k in range(series)
    ]
    return pd.concat(parts, ignore_index=True)


def loaders() -> tuple[DataLoader[object], DataLoader[object]]:
    """Return batches to train on, shuffled, and those to validate on."""
    table = waves()
    training = TimeSeriesDataSet(
        table[table.time < 34],
        time_idx="time",
        target="value",
        group_ids=["series"],
        max_encoder_length=8,
        max_prediction_length=3,
        static_categoricals=["series"],
        time_varying_known_categoricals=["season"],
        time_varying_known_reals=["time", "price"],
        time_varying_unknown_reals=["value"],
        target_normalizer=GroupNormalizer(groups=["series"]),
        add_relative_time_idx=True,
        add_target_scales=True,
    )
    validation = TimeSeriesDataSet.from_dataset(training, table, predict=True, stop_randomization=True)
    return (
        training.to_dataloader(train=True, batch_size=16, num_workers=0),
        validation.to_dataloader(train=False, batch_size=16, num_workers=0),
    )


def network(dataset: TimeSeriesDataSet) -> TemporalFusionTransformer:
    """Return the transformer, small."""
    return TemporalFusionTransformer.from_dataset(
        dataset,
        learning_rate=0.02,
        hidden_size=8,
        attention_head_size=2,
        hidden_continuous_size=4,
        dropout=0.1,
        loss=QuantileLoss(),
        logging_metrics=torch.nn.ModuleList([MAE()]),
        reduce_on_plateau_patience=1,
    )


def train(folder: Path) -> Story:
    """Look for a learning rate, train with validation, test, and predict; then let the second version train itself."""
    pl.seed_everything(7)
    training, validation = loaders()
    model = network(training.dataset)
    best = ModelCheckpoint(monitor="val_loss", filename="{epoch}-{val_loss:.3f}")
    trainer = pl.Trainer(
        max_epochs=4,
        gradient_clip_val=0.1,
        log_every_n_steps=1,
        callbacks=[LearningRateMonitor(), EarlyStopping(monitor="val_loss", patience=10, min_delta=1e-4), best],
        logger=TensorBoardLogger(folder / "logs"),
        default_root_dir=folder,
        **QUIET,
    )
    found = Tuner(trainer).lr_find(
        model, train_dataloaders=training, val_dataloaders=validation, min_lr=1e-5, max_lr=1.0, num_training=20
    )
    model.hparams.learning_rate = 0.02
    pl.seed_everything(8)
    trainer.fit(model, train_dataloaders=training, val_dataloaders=validation)
    (tested,) = trainer.test(model, validation, verbose=False)
    quantiles = model.predict(validation, mode="quantiles", return_index=True, trainer_kwargs={"accelerator": "cpu"})
    return {
        "found a rate": 1e-5 < found.suggestion() < 1.0,
        "logged": logged(folder / "logs"),
        "tested": tested,
        "predicted": predictions(TemporalFusionTransformer.load_from_checkpoint(best.best_model_path)),
        "quantiles": list(quantiles.output.shape),
        "index": quantiles.index["series"].tolist(),
        "checkpoint": best.best_model_path,
        "second version": second_version(folder),
    }


def predictions(model: TemporalFusionTransformer) -> list[float]:
    """Return what a model forecasts for the rows of the validation."""
    forecast = model.predict(loaders()[1], trainer_kwargs={"accelerator": "cpu", "logger": False})
    return [float(value) for value in forecast.flatten()]


def second_version(folder: Path) -> Story:
    """Train, save, load and predict by the library's own commands."""
    pl.seed_everything(9)
    table = (
        waves(length=24, series=10).assign(series=lambda rows: rows.series.str[-1].astype(int)).drop(columns="season")
    )
    series = TimeSeries(table, time="time", target="value", group=["series"], num=["price", "value"], known=["time"])
    settings = {"context_length": 8, "prediction_length": 3, "batch_size": 16}
    package = DLinear_pkg_v2(
        model_cfg={"loss": MAE(), "logging_metrics": []},
        trainer_cfg={**QUIET, "max_epochs": 2, "logger": TensorBoardLogger(folder / "second"), "log_every_n_steps": 1},
        datamodule_cfg=settings,
    )
    saved = package.fit(series, ckpt_dir=folder / "second_checkpoints")
    again = DLinear_pkg_v2(ckpt_path=saved, datamodule_cfg=settings)
    return {
        "logged": logged(folder / "second"),
        "predicted": again.predict(series)["prediction"].flatten().tolist(),
    }


def reload(checkpoint: Path, folder: Path) -> Story:
    """Load the checkpoint in the library's class, predict, and train for one more epoch."""
    model = TemporalFusionTransformer.load_from_checkpoint(checkpoint)
    predicted = predictions(model)
    training, validation = loaders()
    trainer = pl.Trainer(max_epochs=5, gradient_clip_val=0.1, logger=False, default_root_dir=folder, **QUIET)
    trainer.fit(network(training.dataset), training, validation, ckpt_path=checkpoint, weights_only=False)
    return {"predicted": predicted, "epochs": trainer.current_epoch, "steps": trainer.global_step}


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    tell(train, reload)
