"""The gRPC stream between the service and a queue: messages, numbers, credit, tokens, both doors.

Nothing here knows what a member is; `members.remote` joins it with the contract. `v1` is generated from `proto/`.
"""

import os

# Flux's library forks to reach a broker by ssh; what gRPC would do in that child writes into what Flux reads from it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
