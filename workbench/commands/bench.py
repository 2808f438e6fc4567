"""The command bench: every measurement is in the room of that name."""

from __future__ import annotations

from workbench.bench.cli import arguments, run
from workbench.commands.base import Command

BENCH = Command(arguments, run)
