"""What back ends share, each thing written once.

`outbox` sends events to the engine, `work` keeps background tasks and the ladders of retry and cancel, `options` reads
what the file says, `epoch` keeps two engines apart, `records` is a durable log; `files`, `program`, `staging`,
`figures` and `fetching` see to a job's files.
"""
