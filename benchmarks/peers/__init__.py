"""Solvers that `bench_peers.py` runs side by side: one file each, with a table VARIANTS of functions Case -> x."""
