import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import Tensor, nn

from lt_interfaces.errors import MissingPackageError
from lt_interfaces.rank_zero import rank_zero_only
from lt_loggers import DummyExperiment, TensorBoardLogger


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TensorBoardLogger]:
    logger = TensorBoardLogger(tmp_path)
    yield logger
    logger.finalize("success")


def events(logger: TensorBoardLogger, sub_dir: str = "") -> EventAccumulator:
    logger.save()
    return EventAccumulator(str(Path(logger.log_dir, sub_dir))).Reload()


def scalars(logger: TensorBoardLogger, name: str, sub_dir: str = "") -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(logger, sub_dir).Scalars(name)]


def hparams_of(logger: TensorBoardLogger) -> dict[str, Any]:
    content = events(logger).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


class Network(nn.Module):
    def __init__(self, example: object = None) -> None:
        super().__init__()
        self.example_input_array = example
        self.norm = nn.BatchNorm1d(2)
        self.drop = nn.Dropout()
        self.frozen = nn.Linear(2, 2).eval()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.frozen(self.drop(self.norm(x)))
        return out + torch.rand_like(out)


def test_metrics_are_read_back_at_their_steps(logger: TensorBoardLogger) -> None:
    logger.log_metrics({"loss": 0.5, "acc": torch.tensor([0.25])}, step=3)
    logger.log_metrics({"loss": 0.125}, step=4)
    assert scalars(logger, "loss") == [(3, 0.5), (4, 0.125)]
    assert scalars(logger, "acc") == [(3, 0.25)]


def test_dict_metric_becomes_lines_of_one_plot(logger: TensorBoardLogger) -> None:
    logger.log_metrics({"loss": {"train": 0.5, "val": torch.tensor(0.75)}}, step=1)
    assert scalars(logger, "loss", "loss_train") == [(1, 0.5)]
    assert scalars(logger, "loss", "loss_val") == [(1, 0.75)]


def test_prefix_stands_before_names(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, prefix="teacher")
    logger.log_metrics({"loss": 0.5}, step=0)
    assert scalars(logger, "teacher-loss") == [(0, 0.5)]
    logger.finalize("success")


@pytest.mark.parametrize("value", ["high", None, [1.0], torch.ones(2), {"a": "b"}, object()])
def test_metric_that_cannot_be_plotted_is_refused_by_name(logger: TensorBoardLogger, value: object) -> None:
    with pytest.raises(ValueError, match="metric `loss"):
        logger.log_metrics({"loss": value}, step=0)


def test_folder_holds_version_and_sub_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PART", "train")
    logger = TensorBoardLogger("~/runs", name="digits", version=4, sub_dir="$PART")
    assert logger.save_dir == str(tmp_path / "runs")
    assert logger.root_dir == str(tmp_path / "runs" / "digits")
    assert logger.log_dir == str(tmp_path / "runs" / "digits" / "version_4" / "train")
    logger.log_metrics({"loss": 0.5}, step=0)
    assert scalars(logger, "loss") == [(0, 0.5)]
    logger.finalize("success")


def test_looking_at_folders_writes_nothing(tmp_path: Path) -> None:
    logger = TensorBoardLogger(root_dir=tmp_path)
    assert (logger.name, logger.version) == ("lightning_logs", 0)
    assert logger.log_dir == str(tmp_path / "lightning_logs" / "version_0")
    logger.save()
    logger.finalize("failed")
    assert list(tmp_path.iterdir()) == []


def test_hyperparameters_reach_tensorboard_flat_and_the_yaml_file_nested(logger: TensorBoardLogger) -> None:
    logger.log_hyperparams({"lr": 0.5, "net": {"sizes": (8, 4), "act": nn.ReLU}, "seed": None, "flag": True})
    found = hparams_of(logger)
    assert found == {
        "lr": 0.5,
        "net/sizes": "[8, 4]",
        "net/act": str(nn.ReLU),
        "seed": "None",
        "flag": True,
    }
    written = yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text())
    assert written == {"lr": 0.5, "net": {"sizes": [8, 4], "act": str(nn.ReLU)}, "seed": None, "flag": True}


def test_a_run_without_hyperparameters_has_the_yaml_file_too(logger: TensorBoardLogger) -> None:
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.save()
    assert yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text()) == {}


def test_saving_leaves_the_hyperparameters_of_a_continued_run(tmp_path: Path) -> None:
    for params in ({"lr": 0.5}, None):
        logger = TensorBoardLogger(tmp_path, version=0)
        if params:
            logger.log_hyperparams(params)
        logger.log_metrics({"loss": 0.5}, step=0)
        logger.save()
        logger.finalize("success")
    assert yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text()) == {"lr": 0.5}


def test_placeholder_metric_is_logged_with_hyperparameters(logger: TensorBoardLogger) -> None:
    logger.log_hyperparams({"lr": 0.5})
    assert scalars(logger, "hp_metric") == [(0, -1.0)]


def test_placeholder_metric_does_not_hide_values_of_an_earlier_session(tmp_path: Path) -> None:
    for metrics in ({"hp_metric": 0.75}, {}):
        logger = TensorBoardLogger(tmp_path, version=0)
        logger.log_hyperparams({"lr": 0.5})
        logger.log_metrics(metrics, step=10)
        logger.finalize("success")
    assert scalars(logger, "hp_metric") == [(0, -1.0), (10, 0.75)]


def test_given_metrics_replace_the_placeholder(logger: TensorBoardLogger) -> None:
    logger.log_hyperparams({"lr": 0.5}, {"best_acc": 0.75}, step=7)
    assert scalars(logger, "best_acc") == [(7, 0.75)]
    assert "hp_metric" not in events(logger).Tags()["scalars"]


def test_hyperparameters_are_logged_without_any_metric(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    logger.log_hyperparams({"lr": 0.5})
    assert hparams_of(logger) == {"lr": 0.5}
    assert events(logger).Tags()["scalars"] == []
    logger.finalize("success")


def test_graph_is_logged_from_the_example_input(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    logger.log_graph(Network(torch.ones(3, 2)))
    assert events(logger).Tags()["graph"]
    logger.finalize("success")


def test_given_input_and_tuples_are_taken_for_the_graph(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    logger.log_graph(Network((torch.ones(3, 2),)))
    logger.log_graph(Network(), torch.ones(3, 2))
    assert events(logger).Tags()["graph"]
    logger.finalize("success")


def test_logging_the_graph_does_not_change_training(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    network = Network(torch.randn(3, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    random_state = torch.get_rng_state()
    logger.log_graph(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
    logger.finalize("success")


def test_graph_is_not_logged_unless_asked_for(logger: TensorBoardLogger, tmp_path: Path) -> None:
    logger.log_graph(Network(torch.ones(3, 2)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("example", "named"), [(None, "not set"), ([1.0], "list")])
def test_graph_without_a_usable_example_warns(tmp_path: Path, example: object, named: str) -> None:
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    with pytest.warns(UserWarning, match=f"`log_graph=True` has no effect.*{named}"):
        logger.log_graph(Network(example))


@pytest.mark.parametrize("status", ["success", "failed"])
def test_logger_can_be_used_again_after_the_end_of_a_run(tmp_path: Path, status: str) -> None:
    logger = TensorBoardLogger(tmp_path)
    for step in range(2):
        logger.log_metrics({"loss": 0.5}, step=step)
        logger.finalize(status)
    assert scalars(logger, "loss") == [(0, 0.5), (1, 0.5)]


def test_purge_step_hides_the_abandoned_part_of_an_interrupted_run(tmp_path: Path) -> None:
    for purge_step, steps in ((None, range(4)), (2, range(2, 5))):
        logger = TensorBoardLogger(tmp_path, version=0, purge_step=purge_step)
        for step in steps:
            logger.log_metrics({"loss": 0.5}, step=step)
        logger.finalize("success")
    assert [step for step, _ in scalars(logger, "loss")] == [0, 1, 2, 3, 4]


def test_writer_arguments_are_passed_on(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, filename_suffix=".mine", flush_secs=1)
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.finalize("success")
    assert [file.suffix for file in Path(logger.log_dir).iterdir()] == [".mine"]


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    assert isinstance(logger.experiment, DummyExperiment)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_graph(Network(torch.ones(3, 2)))
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []


def test_logger_travels_to_other_processes(logger: TensorBoardLogger) -> None:
    logger.log_metrics({"loss": 0.5}, step=0)
    received = pickle.loads(pickle.dumps(logger))
    received.log_metrics({"loss": 0.25}, step=1)
    received.finalize("success")
    assert scalars(logger, "loss") == [(0, 0.5), (1, 0.25)]


def test_missing_tensorboard_is_named_with_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lt_loggers.tensorboard.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install tensorboard"):
        TensorBoardLogger(tmp_path)
