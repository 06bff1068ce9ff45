"""Many runs: grids of configs, what they cost, and executors from two cores to a cluster."""
