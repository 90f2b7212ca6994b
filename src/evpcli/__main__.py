"""`python -m evpcli` is `evp`."""

from evpcli.cli import run

run()
