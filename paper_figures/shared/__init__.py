"""What several figures share: tables of runs and probes, the tests behind their one-line answers, and drawings."""
