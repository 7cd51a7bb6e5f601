"""Edge Deploy's device side. The version stands here and nowhere else."""

__version__ = "0.1.0"
