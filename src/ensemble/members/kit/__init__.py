"""Code that back ends share.

`outbox` sends events to the engine, `work` has background tasks, retries and the end of a cancellation, `options` reads
what the file says, `epoch` keeps two engines apart, `records` is a durable log; `files`, `program`, `staging`,
`figures` and `fetching` see to a job's files.
"""
