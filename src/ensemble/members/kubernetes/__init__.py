"""Members for Kubernetes: a job of an ensemble is a Job, a JobSet or a LeaderWorkerSet. No operator is needed.

`api.py` reaches the API server, `informer.py` keeps what it says up to date, `objects.py` is what is read of it.
`member.py` is the one class of members: `submission.py` creates objects, `following.py` follows them, `reading.py`
says what pods mean in plain words, `ends.py` keeps what is left of a job, `attempts.py` and `store.py` are what is
known. What differs between the kinds of objects is a `WorkloadKind` (`workloads.py`): one file each, `job.py`,
`jobset.py` and `leaderworkerset.py`. `minicluster.py` makes and sizes MiniClusters, in which Flux runs the jobs.
"""
