"""Measuring an application: how long it takes, how much of it is MPI, where it ran and what disturbed it.

A measurement is an ordinary ensemble run whose jobs note what happens around and inside the application.
"""
