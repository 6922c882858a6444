"""How fast, side by side in one run with what users would pick instead. `make benchmark` runs all of it."""
