"""What a table of runs says: censored scaling fits, tests of the claims, controls. Reads tables, trains nothing."""
