"""Options of a command refused by the name that they are typed with."""

from gcd_core.errors import GCDError


def check_at_least(minimum: float, **settings: float | None) -> None:
    """Refuse settings below `minimum`; None stands for the domain's default.

    Raises
    ------
    GCDError
        Naming the option as it is typed.
    """
    for name, value in settings.items():
        if value is not None and not value >= minimum:
            option = "--" + name.replace("_", "-")
            raise GCDError(f"{option} must be {minimum} at least, not {value}.")


def check_positive(**settings: float | None) -> None:
    """Refuse settings that are not positive finite numbers; None stands for the default."""
    for name, value in settings.items():
        if value is not None and not 0 < value < float("inf"):
            option = "--" + name.replace("_", "-")
            raise GCDError(f"{option} must be positive, not {value}.")
