"""The service: hosts many ensembles at once and lets people and programs steer them over gRPC.

`main` is the command `ensemble-server`, `client` what the verbs use with `--server`.
"""
