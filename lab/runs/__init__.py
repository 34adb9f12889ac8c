"""Runs: the worker loop, its two hosts, sessions, and run folders; Qt-free."""
