"""Looking into a run: states of its generations, losses by noise level, landscapes of its score. One subject a file."""
