"""What the tables of data/README.md come from: each runs by `python -m data.experiments.NAME`."""
