"""Machines the search can be told of without having one: what is known of them, and what is not.

A latency measured here is none of a Raspberry Pi's, and no rule of costs that we know of predicts one within the
difference between two candidates. So nothing is scaled: a target says what carries over, and a limit of milliseconds
needs a device that can be asked.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine."""

    name: str
    core: str
    dot_product: bool  # Arm's SDOT, which makes int8 products several times cheaper (Armv8.2-A DotProd)
    memory_mb: int  # of the smallest such machine

    @property
    def notes(self) -> tuple[str, ...]:
        """What somebody who reads the table has to know."""
        gain = (
            "it has int8 dot products, as this machine likely has: int8 should gain there as much as here"
            if self.dot_product
            else "it has no int8 dot products: int8 gains less there than on a machine that has them"
        )
        where = f"latencies are of this machine and not of a {self.name} ({self.core}; {gain})"
        return (f"{where}. What XNNPACK does not take is slow on both. Only a device can tell milliseconds",)


# Cores: raspberrypi.com, product briefs of each; DotProd: Arm's technical reference manuals of the cores.
TARGETS = {
    "pi4": Target("Raspberry Pi 4", "Cortex-A72", dot_product=False, memory_mb=1024),
    "pi5": Target("Raspberry Pi 5", "Cortex-A76", dot_product=True, memory_mb=1024),
    "zero2w": Target("Raspberry Pi Zero 2 W", "Cortex-A53", dot_product=False, memory_mb=512),
}
