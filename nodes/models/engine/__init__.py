"""Runs weights in this process: one backbone, the adapters of all roles, one prefix cache."""
