"""What the registry promises, while its calls fail, its processes die and others are at work.

`make test` takes every seventh point or so, `make torture` all of them.
"""
