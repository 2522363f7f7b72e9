"""Where the simulated member was before `ensemble.simulation`, for installations whose entry points are older."""

from importlib import import_module

SimulatedMember = import_module("ensemble.simulation.member").SimulatedMember
