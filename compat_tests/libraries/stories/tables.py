"""PyTorch Tabular: a network classifies rows of a table, by the library's own model object and its folder on disk."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, ExperimentConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import CategoryEmbeddingModelConfig
from telling import Story, logged, tell


def rows(count: int, seed: int) -> pd.DataFrame:
    """Return rows whose class hangs on two numbers and on a colour."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "weight": rng.normal(size=count),
            "height": rng.normal(size=count),
            "colour": rng.choice(["red", "green", "blue"], count),
        }
    )
    score = table.weight - 0.5 * table.height + table.colour.map({"red": -0.5, "green": 0.0, "blue": 0.8})
    return table.assign(kind=np.where(score > 0, "yes", "no"))


def untrained(folder: Path, **changed: Any) -> TabularModel:
    """Return the library's object with every setting of a small training run."""
    trainer = {
        "batch_size": 32,
        "max_epochs": 4,
        "accelerator": "cpu",
        "devices": 1,
        "auto_lr_find": False,
        "early_stopping": "valid_loss",
        "early_stopping_patience": 3,
        "checkpoints": "valid_loss",
        "checkpoints_path": str(folder / "checkpoints"),
        "progress_bar": "rich",
        "trainer_kwargs": {"log_every_n_steps": 1},
    }
    return TabularModel(
        data_config=DataConfig(target=["kind"], continuous_cols=["weight", "height"], categorical_cols=["colour"]),
        model_config=CategoryEmbeddingModelConfig(
            task="classification", layers="16-8", learning_rate=0.01, metrics=["accuracy"], metrics_prob_input=[False]
        ),
        optimizer_config=OptimizerConfig(
            lr_scheduler="StepLR", lr_scheduler_params={"step_size": 2, "gamma": 0.5}, lr_scheduler_monitor_metric=None
        ),
        trainer_config=TrainerConfig(**(trainer | changed)),
        experiment_config=ExperimentConfig(project_name=str(folder / "logs"), run_name="run", log_target="tensorboard"),
        verbose=False,
    )


def train(folder: Path) -> Story:
    """Fit with validation, evaluate, predict, save everything in a folder, and load it again."""
    unseen = rows(40, 3)
    model = untrained(folder)
    model.fit(train=rows(240, 1), validation=rows(80, 2), seed=11)
    (tested,) = model.evaluate(unseen, verbose=False)
    model.save_model(str(folder / "saved"))
    loaded = TabularModel.load_model(str(folder / "saved"), map_location="cpu")
    (tested_again,) = loaded.evaluate(unseen, verbose=False)
    return {
        "logged": logged(folder / "logs"),
        "tested": tested,
        "tested again": tested_again,
        "predicted": probabilities(model, unseen),
        "predicted again": probabilities(loaded, unseen),
        "summary": "Total params" in model.ret_summary(),
        "checkpoint": model.trainer.checkpoint_callback.best_model_path,
        "saved": sorted(path.name for path in (folder / "saved").iterdir()),
    }


def probabilities(model: TabularModel, table: pd.DataFrame) -> list[float]:
    """Return what a model thinks of every row and class."""
    return [float(value) for value in model.predict(table).filter(like="probability").to_numpy().flatten()]


def reload(checkpoint: Path, folder: Path) -> Story:
    """Load the checkpoint in the library's class, predict, and train for one more epoch."""
    model = untrained(folder, max_epochs=5)
    data = model.prepare_dataloader(train=rows(240, 1), validation=rows(80, 2), seed=11)
    config, inferred = model.config, OmegaConf.structured(data.update_config(model.config))
    network = type(model.prepare_model(data)).load_from_checkpoint(checkpoint, config=config, inferred_config=inferred)
    model._prepare_for_training(network, data)
    predicted = probabilities(model, rows(40, 3))
    model.trainer.fit(network, data.train_dataloader(), data.val_dataloader(), ckpt_path=checkpoint, weights_only=False)
    return {"predicted": predicted, "epochs": model.trainer.current_epoch, "steps": model.trainer.global_step}


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    tell(train, reload)
