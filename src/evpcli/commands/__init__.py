"""One file per verb: take options, call the engine, show what it returns."""
