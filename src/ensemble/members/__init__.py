"""Queue back ends, one folder each, behind the one contract in `contract.py`.

A third party adds one through the entry point group `ensemble.members`.
"""
