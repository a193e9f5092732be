"""What is used of the maker's package ``pyjoulescope_driver``: its driver, its topics, its models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

PACKAGE, EXTRA = "pyjoulescope_driver", "joulescope"
#: Sample rates that all models make, hertz; the JS110 makes 2 MHz beside them.
RATES_HZ = (1_000_000, 500_000, 200_000, 100_000, 50_000, 20_000, 10_000, 5_000, 2_000, 1_000)
USUAL_HZ = 100_000
#: Topics that set a model's ranges to automatic, or its voltage range to 15 V.
RANGES = {
    "js110": (("s/i/range/select", "auto"), ("s/v/range/select", "15 V")),
    "js220": (("s/i/range/mode", "auto"), ("s/v/range/mode", "auto")),
    "js320": (("s/i/range/mode", "auto"), ("s/v/range/mode", "auto")),
}
#: General-purpose inputs that a model has.
INPUTS = {"js110": 2, "js220": 4, "js320": 4}
#: A message is held at most this long in numbers; what is older is thrown away and counted.
MESSAGES_MAX = 65536


class JoulescopeDriver(Protocol):
    """What is used of ``pyjoulescope_driver.Driver``."""

    def device_paths(self) -> list[str]:
        """Paths of the instruments, ``u/js220/000415``."""
        ...

    def open(self, device_prefix: str, mode: str | None = None) -> None:
        """Take hold of an instrument."""
        ...

    def close(self, device_prefix: str) -> None:
        """Let go of it."""
        ...

    def publish(self, topic: str, value: Any) -> None:
        """Set a value."""
        ...

    def query(self, topic: str) -> Any:
        """Ask for a value."""
        ...

    def subscribe(self, topic: str, flags: str, fn: Callable[[str, Any], None]) -> None:
        """Have a function called, from a thread of the driver."""
        ...

    def unsubscribe(self, topic: str, fn: Callable[[str, Any], None]) -> None:
        """No longer."""
        ...

    def finalize(self) -> None:
        """End the driver."""
        ...


def model_of(path: str) -> str:
    """The model in a path such as ``u/js220/000415``."""
    parts = path.split("/")
    return parts[1].lower() if len(parts) == 3 else ""


def new_driver() -> JoulescopeDriver:
    """The package's driver; it owns a thread until ``finalize``."""
    from pyjoulescope_driver import JoulescopeDriver as Package

    driver: JoulescopeDriver = Package()
    return driver
