from pathlib import Path
from textwrap import dedent

import pytest

from lt_compat.checking.findings import Finding, Verdict, check_file, config_findings, findings


def found(source: str) -> list[Finding]:
    return sorted(findings(dedent(source).encode()), key=lambda one: one.place.line)


def verdicts(source: str) -> list[tuple[int, str, str]]:
    return [(one.place.line, one.verdict.value, one.name) for one in found(source)]


def test_each_name_is_told_with_its_line_and_whether_lt_has_it() -> None:
    source = """\
        import lightning.pytorch as pl
        from lightning.pytorch.callbacks import EarlyStopping, Timer as T
        from pytorch_lightning.strategies import StrategyRegistry
        from lightning.pytorch.loops import _FitLoop
        pl.loggers.CSVLogger, pl.Trainer.fit, T.state_key, pl.Nonsense
        x: "pl.Callback" = "lightning.pytorch.callbacks.LambdaCallback"
    """
    assert verdicts(source) == [
        (1, "same", "lightning.pytorch"),
        (2, "differs", "lightning.pytorch.callbacks.EarlyStopping"),
        (2, "same", "lightning.pytorch.callbacks.Timer"),
        (3, "missing", "pytorch_lightning.strategies.StrategyRegistry"),
        (4, "private", "lightning.pytorch.loops._FitLoop"),
        (5, "differs", "lightning.pytorch.loggers.CSVLogger"),
        (5, "same", "lightning.pytorch.Trainer"),
        (5, "missing", "lightning.pytorch.Nonsense"),
        (6, "same", "lightning.pytorch.Callback"),
        (6, "differs", "lightning.pytorch.callbacks.LambdaCallback"),
    ]


def test_what_differs_comes_with_its_rows_and_what_is_missing_with_its_replacement() -> None:
    stopping, registry = found(
        "from lightning.pytorch.callbacks import EarlyStopping\nimport lightning.pytorch.nonsense"
    )
    assert [row.title for row in stopping.differences] == ["`EarlyStopping(patience=...)` changed between runs"]
    assert "`lightning.pytorch.nonsense` isn't among the names" in registry.instead


def test_attributes_that_a_class_of_lt_lacks_are_missing() -> None:
    source = """\
        from lightning.pytorch import Trainer
        Trainer.from_argparse_args(args)
        Trainer.fit
    """
    assert verdicts(source)[1:] == [(2, "missing", "lightning.pytorch.Trainer.from_argparse_args")]


def test_arguments_that_differ_or_that_lt_does_not_know_are_told() -> None:
    source = """\
        import lightning as L
        L.Trainer(max_epochs=1, model_registry="x", gpus=2, max_epoch=3)
        L.seed_everything()
        L.seed_everything(3)
    """
    told = [one for one in verdicts(source) if one[2].endswith(")")]
    assert told == [
        (2, "differs", "Trainer(model_registry=...)"),
        (2, "missing", "Trainer(gpus=...)"),
        (2, "missing", "Trainer(max_epoch=...)"),
        (3, "differs", "seed_everything()"),
    ]
    (misspelt,) = [one for one in found(source) if one.name == "Trainer(max_epoch=...)"]
    assert "Did you mean `max_epochs`?" in misspelt.instead


def test_methods_that_are_no_hooks_any_more_are_told() -> None:
    source = """\
        from lightning.pytorch import LightningModule
        from lightning.pytorch.utilities import rank_zero_only

        class Model(LightningModule):
            def training_epoch_end(self, outputs): ...
            def on_trian_start(self): ...
            def on_batch_end(self): ...
            def teardown(self, stage): self.on_batch_end()
            def training_step(self, batch, batch_idx): ...

        class Other(rank_zero_only):
            def on_epoch_end(self): ...
    """
    assert verdicts(source)[2:] == [
        (5, "missing", "LightningModule.training_epoch_end"),
        (6, "differs", "LightningModule.on_trian_start"),
        (8, "differs", "LightningModule.teardown"),
    ]


def test_strings_that_only_look_like_paths_are_passed_over() -> None:
    source = """\
        import_module("lightning.pytorch.callbacks"); find_spec("lightning")
        logging.getLogger("pytorch_lightning")
        x = ["lightning", "lightning.qubit", "pytorch_lightning.ckpt", "lightning.pytorch"]
        y = "lightning.pytorch.callbacks.Nonsense"
    """
    assert verdicts(source) == [
        (1, "same", "lightning.pytorch.callbacks"),
        (1, "same", "lightning"),
        (2, "differs", "pytorch_lightning"),
        (4, "missing", "lightning.pytorch.callbacks.Nonsense"),
    ]


@pytest.mark.parametrize(
    ("source", "stops"),
    [
        ("from lightning.pytorch import Nonsense", True),
        ("from lightning.pytorch.loops import _FitLoop", True),
        ("from lightning.pytorch import Trainer", False),
        ("try: from lightning.pytorch import Nonsense\nexcept ImportError: pass", False),
        ("if typing.TYPE_CHECKING:\n  from lightning.pytorch import Nonsense", False),
    ],
)
def test_only_what_nothing_catches_stops_the_program(source: str, stops: bool) -> None:
    assert [one.stops_the_program for one in found(source)] == [stops]


def test_configurations_are_judged_by_the_same_table() -> None:
    text = "class_path: lightning.pytorch.callbacks.EarlyStopping\nother: lightning.pytorch.callbacks.Nonsense\n"
    told = [(one.place.line, one.verdict) for one in config_findings(text)]
    assert told == [(1, Verdict.DIFFERS), (2, Verdict.MISSING)]


@pytest.mark.parametrize(("name", "text"), [("a.py", b"import lightning as ("), ("b.yaml", b"lightning \xff")])
def test_a_file_that_cannot_be_read_is_told(name: str, text: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text)
    checked = check_file(tmp_path / name)
    assert checked.problem
    assert checked.findings == ()


def test_a_file_that_says_nothing_of_lightning_is_not_even_parsed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("not ( python")
    assert check_file(tmp_path / "a.py").problem == ""
