"""The settings of torch that a process started afresh takes over from its parent."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TorchSettings:
    """Torch's random state and global flags."""

    rng_state: Tensor
    default_dtype: torch.dtype
    matmul_precision: str
    deterministic: bool
    deterministic_warn_only: bool
    cudnn_flags: tuple[bool, bool, bool]

    @classmethod
    def of_this_process(cls) -> "TorchSettings":
        """Take them down."""
        return cls(
            rng_state=torch.get_rng_state(),
            default_dtype=torch.get_default_dtype(),
            matmul_precision=torch.get_float32_matmul_precision(),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            deterministic_warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
            cudnn_flags=(
                torch.backends.cudnn.benchmark,
                torch.backends.cudnn.deterministic,
                torch.backends.cudnn.allow_tf32,
            ),
        )

    def apply(self) -> None:
        """Set them in this process."""
        torch.set_rng_state(self.rng_state)
        torch.set_default_dtype(self.default_dtype)
        torch.set_float32_matmul_precision(self.matmul_precision)
        if self._is_new_determinism():  # setting it loads torch's compiler, which takes seconds
            torch.use_deterministic_algorithms(self.deterministic, warn_only=self.deterministic_warn_only)
        benchmark, deterministic, allow_tf32 = self.cudnn_flags
        torch.backends.cudnn.benchmark = benchmark
        torch.backends.cudnn.deterministic = deterministic
        torch.backends.cudnn.allow_tf32 = allow_tf32

    def _is_new_determinism(self) -> bool:
        wanted = (self.deterministic, self.deterministic_warn_only)
        return wanted != (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
