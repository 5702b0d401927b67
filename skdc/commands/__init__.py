"""The commands of ``skdc``, a module each.

``add_arguments(parser)`` declares what a command takes and imports nothing heavy; ``run(args)``
does the work, prints its results and returns the exit code.
"""
