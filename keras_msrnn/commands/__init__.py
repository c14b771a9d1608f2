"""Commands of the command line: `train`, `evaluate`, `forecast` and `profile`."""
