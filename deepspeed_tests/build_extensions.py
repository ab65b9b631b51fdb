"""Build what DeepSpeed compiles while it's used, once, before tests start processes that would wait for each other.

A build that was killed leaves a lock behind, at which every later process waits for ever. The folder is this
environment's own (``TORCH_EXTENSIONS_DIR``), so locks found in it are stale.
"""

import os
from pathlib import Path


def main() -> None:
    """Build the optimizer for the CPU and the collectives through shared memory."""
    folder = Path(os.environ["TORCH_EXTENSIONS_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    for lock in folder.glob("**/lock"):
        lock.unlink()
    from deepspeed.accelerator import get_accelerator  # once the folder is ready

    for name in ("CPUAdamBuilder", "ShareMemCommBuilder", "AsyncIOBuilder"):
        builder = get_accelerator().create_op_builder(name)
        if builder is not None and builder.is_compatible():  # files need libaio's headers
            builder.load()


if __name__ == "__main__":
    main()
