"""`python -m evpcli` is `evp`."""

import os
import sys

_here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
try:
    _work = os.getcwd()
except FileNotFoundError:  # somebody removed it
    _work = ""
if _work and sys.path and os.path.abspath(sys.path[0]) == _work != _here:
    del sys.path[0]  # -m puts the working folder first, where a file may be called typer.py

from evpcli.cli import run  # noqa: E402

run()
