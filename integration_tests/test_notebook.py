"""Several processes from a notebook: cells run one after the other in one interactive process."""

import subprocess
import sys
from pathlib import Path
from typing import Final

FIRST: Final = """\
import torch, warnings
warnings.simplefilter("ignore")
import lt
class Net(lt.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.breaks = False
    def training_step(self, batch, batch_idx):
        if self.breaks and self.global_rank == 1:
            raise ValueError("the cell shall see this")
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
loader = torch.utils.data.DataLoader(torch.ones(8, 4), batch_size=2)
net = Net()
trainer = lt.Trainer(accelerator="cpu", devices=2, max_epochs=1, **quiet, {strategy})
before = net.layer.weight.detach().clone()
trainer.fit(net, loader)
print("first fit:", trainer.global_step, sorted(trainer.callback_metrics), not torch.equal(before, net.layer.weight))
trainer.fit_loop.max_epochs = 3
trainer.fit(net, loader)
print("second fit:", trainer.global_step)
net.breaks = True
trainer.fit_loop.max_epochs = 4
trainer.fit(net, loader)
net.breaks = False
trainer.fit(net, loader)
print("after the failure:", trainer.global_step)
"""


def run_cells(code: str, folder: Path) -> str:
    """Run code as an interactive process does: blocks one by one, and on after an exception; returns all it printed."""
    command = [sys.executable, "-i", "-q"]
    done = subprocess.run(
        command,
        check=False,
        input=code,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    return done.stdout


def test_fits_follow_each_other_and_a_traceback_reaches_the_cell(tmp_path: Path) -> None:
    printed = run_cells(FIRST.replace("{strategy}", 'strategy="ddp_notebook"'), tmp_path)
    assert "first fit: 2 ['loss'] True" in printed
    assert "second fit: 6" in printed
    assert printed.count("ValueError: the cell shall see this") == 2  # as it was on rank 1, and as it's raised here
    assert "rank 1 failed at global step 6" in printed
    assert "after the failure: 8" in printed


def test_several_devices_choose_forked_processes_by_themselves(tmp_path: Path) -> None:
    cells = FIRST.replace(", {strategy}", "") + "print(trainer.strategy.launcher)\n"
    assert "first fit: 2 ['loss'] True" in run_cells(cells, tmp_path)
