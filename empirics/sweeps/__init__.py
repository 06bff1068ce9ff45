"""Many runs: grids of configs, executors from two cores to a cluster, and the report that a colleague can open."""
