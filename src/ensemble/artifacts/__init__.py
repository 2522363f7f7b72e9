"""Runs in OCI registries: saved as artifacts, read back and verified, fetched, replayed.

`packing`, `saving` and `fetching` are what verbs and the operator call; `registry` is the client under them.
"""
