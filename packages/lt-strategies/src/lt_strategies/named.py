"""The registered names of the DDP family: each is a factory that sets arguments of `DDPStrategy`."""

from functools import partial
from typing import Final

from lt_strategies.ddp import DDPStrategy

ddp: Final = DDPStrategy
ddp_spawn: Final = partial(DDPStrategy, start_method="spawn")
ddp_fork: Final = partial(DDPStrategy, start_method="fork")
ddp_notebook: Final = ddp_fork

ddp_find_unused_parameters_true: Final = partial(ddp, find_unused_parameters=True)
ddp_find_unused_parameters_false: Final = partial(ddp, find_unused_parameters=False)
ddp_spawn_find_unused_parameters_true: Final = partial(ddp_spawn, find_unused_parameters=True)
ddp_spawn_find_unused_parameters_false: Final = partial(ddp_spawn, find_unused_parameters=False)
ddp_fork_find_unused_parameters_true: Final = partial(ddp_fork, find_unused_parameters=True)
ddp_fork_find_unused_parameters_false: Final = partial(ddp_fork, find_unused_parameters=False)
ddp_notebook_find_unused_parameters_true: Final = ddp_fork_find_unused_parameters_true
ddp_notebook_find_unused_parameters_false: Final = ddp_fork_find_unused_parameters_false
