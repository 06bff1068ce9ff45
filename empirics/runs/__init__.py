"""Runs on disk: one folder a run, read without running code from it, and many folders as tables."""
