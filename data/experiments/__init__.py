"""Experiments: what the tables of data/README.md come from. Each runs by `python -m data.experiments.NAME`."""
