"""Slices to one brain age a scan, errors, brain-age deltas and their statistics: pure functions on arrays and tables.

Import from the modules: `aggregate` and `metrics` need numpy alone, so that training loads no statistics.
"""
