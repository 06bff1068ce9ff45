"""One page about a folder of runs, for a colleague to open: claims, clocks, scaling, every run's curve. No network."""
