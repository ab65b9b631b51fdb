"""Methods that Lightning's own callbacks call on themselves, and ours don't: who overrides one should know."""

from collections.abc import Iterable

from lt_interfaces.rank_zero import rank_zero_warn


def warn_of_unheard_overrides(subclass: type, unheard: Iterable[str], *, instead: str) -> None:
    """Warn when a class is made that defines methods which nothing calls here.

    Args:
        subclass: the class.
        unheard: the methods' names.
        instead: what can be overridden.
    """
    defined = sorted(set(unheard) & vars(subclass).keys())
    if defined:
        names = ", ".join(f"`{name}`" for name in defined)
        rank_zero_warn(f"`{subclass.__name__}` defines {names}, which lt never calls. Override {instead}.")
