"""Sharded runs that can't go on from what they're given, in a module that ranks import by name."""

from dataclasses import replace
from pathlib import Path

from sharding_ranks import Net, Run, SmallGPT, new_trainer, training_data


class Narrow(Net):
    """Has layers of another width."""

    def new_model(self) -> SmallGPT:
        return SmallGPT(width=64, num_blocks=self.run.num_blocks)


def what_is_said(folder: str) -> dict[tuple[str, str], str]:
    """Return what's said of checkpoints of another model, by layout and what's other about it."""
    said = {}
    for layout in ("fsdp", "fsdp, sharded state"):
        run = Run(folder, layout, steps=1, num_blocks=1)
        path = str(Path(folder, f"{layout}.ckpt"))
        trainer = new_trainer(run, 2)
        trainer.fit(Net(run), training_data(2))
        trainer.save_checkpoint(path)
        deeper = replace(run, num_blocks=2)
        for what, module in {"blocks": Net(deeper), "width": Narrow(run)}.items():
            try:
                new_trainer(deeper, 2).fit(module, training_data(2), ckpt_path=path)
            except RuntimeError as error:
                said[layout, what] = str(error)
    return said
