"""Generated from `proto/ensemble/v1` by `make proto`; not to be edited."""
