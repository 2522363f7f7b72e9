"""The gRPC stream between the service and a queue: messages, numbers, credit, tokens, both doors.

Nothing here knows what a member is; `members.remote` joins it with the contract. `v1` is generated from `proto/`.
"""
