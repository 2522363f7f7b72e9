"""Conditions and arithmetic over metrics: text to tree, tree to closure. Never `eval`."""
