"""The commands of `edgectl`, one module for each field. Assembling them is left to `converter.cli`."""
