"""Prints what a process knows of itself and its job, as JSON; run by srun, or by hand."""

import json
import os

from lt_strategies.environments.slurm import SLURMEnvironment


def main() -> None:
    """Print one line."""
    environment = SLURMEnvironment()
    known = {
        "detected": SLURMEnvironment.detect(),
        "global_rank": environment.global_rank(),
        "local_rank": environment.local_rank(),
        "node_rank": environment.node_rank(),
        "world_size": environment.world_size(),
        "main_address": environment.main_address,
        "main_port": environment.main_port,
        "node": os.environ.get("SLURMD_NODENAME"),
    }
    print(json.dumps(known))


if __name__ == "__main__":
    main()
