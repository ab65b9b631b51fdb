import copy
import pickle

from torch import nn

from lt_loggers import DummyExperiment, DummyLogger


def test_dummy_logger_absorbs_the_contract_and_more() -> None:
    logger = DummyLogger()
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_graph(nn.Linear(1, 1))
    logger.save()
    logger.finalize("success")
    logger.watch(nn.Linear(1, 1), log="all")
    logger[0].experiment["run"].log(1)
    assert (logger.name, logger.version) == ("", "")
    assert logger.log_dir is None


def test_dummies_can_be_copied_and_pickled() -> None:
    for dummy in (DummyLogger(), DummyExperiment()):
        assert type(pickle.loads(pickle.dumps(copy.deepcopy(dummy)))) is type(dummy)


def test_dummy_experiment_takes_items() -> None:
    experiment = DummyExperiment()
    experiment["note"] = "lost"
    assert experiment["note"].anything(1, two=2) is None
