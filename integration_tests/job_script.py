"""A small job on two ranks, run as a script: what each rank trained on goes to files; ends as its arguments say.

job_script.py FOLDER STRATEGY [--steps N] [--kill-at STEP] [--signal-at STEP --signal-rank R] [--ckpt-path PATH]
    [--devices N] [--num-nodes N] [--step-seconds S] [--in-background]

STRATEGY is a name, or "fsdp_sharded" for FSDP whose checkpoints every rank writes its part of.
"""

import argparse
import json
import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import lt

# How often torchrun or SLURM has started this job again.
LIFE: Final = os.environ.get("TORCHELASTIC_RESTART_COUNT", os.environ.get("SLURM_RESTART_COUNT", "0"))


class Numbered(Dataset[tuple[Tensor, Tensor]]):
    """Samples that carry their index."""

    def __init__(self, length: int) -> None:
        self.rows = torch.randn(length, 4, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.tensor(index), self.rows[index]


class Net(lt.LightningModule):
    """Writes down, for each optimizer step, the samples and the loss of this rank."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.arguments = arguments

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        indices, rows = batch
        loss = (self.network(rows) - rows.sum(dim=1, keepdim=True)).square().mean()
        self._note({"step": self.global_step, "samples": indices.tolist(), "loss": loss.item()})
        self._end_if_told()
        time.sleep(self.arguments.step_seconds)
        return loss

    def _note(self, entry: dict[str, Any]) -> None:
        with Path(self.arguments.folder, f"rank{self.global_rank}-{LIFE}.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _end_if_told(self) -> None:
        wanted, first_life = self.arguments, LIFE == "0"
        if self.global_step == wanted.kill_at and self.global_rank == 1 and first_life:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.global_step == wanted.signal_at and wanted.signal_rank in (self.global_rank, -1):
            os.kill(os.getpid(), signal.SIGTERM)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main() -> None:
    """Train as the arguments say."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("strategy")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--signal-at", type=int, default=-1)
    parser.add_argument("--signal-rank", type=int, default=0)
    parser.add_argument("--ckpt-path")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--num-nodes", type=int, default=1)
    parser.add_argument("--step-seconds", type=float, default=0)
    parser.add_argument("--in-background", action="store_true", help="let the job go on while it saves")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lt.seed_everything(5, verbose=False)
    save_each = lt.callbacks.ModelCheckpoint(
        dirpath=Path(arguments.folder, "checkpoints"), every_n_train_steps=2, save_top_k=1, save_last=True
    )
    strategy = strategy_of(arguments.strategy)
    trainer = lt.Trainer(
        accelerator="cpu",
        devices=arguments.devices,
        num_nodes=arguments.num_nodes,
        strategy=strategy,
        plugins=checkpoint_io_of(arguments),
        max_steps=arguments.steps,
        callbacks=[save_each],
        default_root_dir=arguments.folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(Numbered(48), batch_size=2, shuffle=True)
    trainer.fit(Net(arguments), loader, ckpt_path=arguments.ckpt_path)


def strategy_of(name: str) -> Any:
    """Return what a name stands for."""
    if name != "fsdp_sharded":
        return name
    from lt_fsdp import FSDPStrategy  # takes seconds, which other jobs needn't spend

    return FSDPStrategy(state_dict_type="sharded")


def checkpoint_io_of(arguments: argparse.Namespace) -> Any:
    """Return what writes checkpoints, where it isn't the strategy's default."""
    if not arguments.in_background:
        return None
    is_sharded = arguments.strategy == "fsdp_sharded"
    return lt.checkpoint_io.AsyncCheckpointIO(lt.checkpoint_io.DistributedCheckpointIO() if is_sharded else None)


if __name__ == "__main__":
    main()
