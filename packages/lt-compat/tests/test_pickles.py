import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Run = Callable[..., CompletedProcess[str]]

PROGRAM = """
import torch, lightning.pytorch as pl

class Norm:
    order = 2

class Model(pl.LightningModule):
    def __init__(self, norm, nested):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

quiet = {"enable_progress_bar": False, "enable_model_summary": False}

def saved():
    nested = pl.utilities.AttributeDict(cls=Norm, lr=0.1)
    trainer = pl.Trainer(accelerator="cpu", max_steps=1, logger=False, **quiet)
    trainer.fit(Model(Norm(), nested), torch.utils.data.DataLoader(torch.ones(4, 2)))
    trainer.save_checkpoint("saved.ckpt")
"""


def test_checkpoints_hold_objects_as_lightnings_do_and_load_when_trusted(python: Run, tmp_path: Path) -> None:
    program = PROGRAM + (
        "saved()\n"
        "model = Model.load_from_checkpoint('saved.ckpt', weights_only=False)\n"
        "print(model.hparams.norm.order, model.hparams.nested.cls is Norm, type(model.hparams.nested).__name__)\n"
        "Model.load_from_checkpoint('saved.ckpt')"
    )
    ran = python("-c", program, switch="on")
    assert ran.stdout == "2 True AttributeDict\n", ran.stderr
    assert ran.stderr.count("loads with `weights_only=False` alone") == 1
    assert "pass `weights_only=False`" in ran.stderr


def test_nested_hyperparameters_are_named_as_lightning_names_them(python: Run, tmp_path: Path) -> None:
    ran = python("-c", f"{PROGRAM}saved()", switch="on")
    assert ran.returncode == 0, ran.stderr
    with zipfile.ZipFile(tmp_path / "saved.ckpt") as file:
        (pickled,) = (file.read(name) for name in file.namelist() if name.endswith("data.pkl"))
    classes = {argument for code, argument, _ in pickletools.genops(pickled) if code.name == "GLOBAL"}
    assert "lightning.fabric.utilities.data AttributeDict" in classes
    assert not {name for name in classes if str(name).startswith("lt_")}


def test_the_environment_may_refuse_objects_all_the_same(python: Run) -> None:
    program = f"import os; os.environ['LT_CHECKPOINT_OBJECTS'] = 'refuse'\n{PROGRAM}saved()"
    ran = python("-c", program, switch="on")
    assert "which a checkpoint can't hold" in ran.stderr


def test_processes_started_by_the_program_keep_objects_too(python: Run) -> None:
    child = "import os; print(os.environ['LT_CHECKPOINT_OBJECTS'])"
    ran = python("-c", f"import lt_compat, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    assert ran.stdout == "keep\n", ran.stderr
