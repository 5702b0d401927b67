"""Arithmetic of the network that is faster than torch has it, on CPUs."""
