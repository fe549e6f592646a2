"""Runs: output folders that appear whole, checkpoints, fingerprints of data and code, scores."""
