"""Members for batch queues, such as Slurm and PBS, on their ordinary commands.

Jobs go out as arrays, and report through a directory that the nodes and the engine both see. All of that is generic:
`attempts.py` is what is known of each attempt, `submission.py` sends arrays, `script.py` writes what runs on the nodes,
`spool.py` is the directory, `reconciliation.py` compares with the queue, and `member.py` joins them. What differs
between queues is a `Dialect` (`dialect.py`): one file each, `slurm.py` and `pbs.py`.
"""
