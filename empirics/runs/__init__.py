"""Runs on disk: one folder per run, read without running code from it, and many folders as tables."""
