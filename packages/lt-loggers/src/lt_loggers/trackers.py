"""The libraries of trackers: each comes with an extra, and is imported when a logger first needs it."""

from importlib.util import find_spec

from lt_interfaces.errors import missing_package


def require_tracker(module: str, *, distribution: str, logger: str, extra: str) -> None:
    """Check, without importing it, that a tracker's library is installed.

    Args:
        module: the name that it's imported by.
        distribution: the name that it's installed by.
        logger: the logger that needs it.
        extra: the extra of lt-loggers that brings it.

    Raises:
        MissingPackageError: it isn't; the message has the ``pip install`` line.
    """
    spec = find_spec(module)
    # Without an origin it's a mere folder of that name: wandb, for one, leaves such a folder where scripts are started.
    if spec is None or spec.origin is None:
        error = missing_package(distribution, f"`{logger}`", f'"lt-loggers[{extra}]"')
        raise error
