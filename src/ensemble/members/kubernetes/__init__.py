"""Members for Kubernetes: a job of an ensemble is a Job, a JobSet or a LeaderWorkerSet. No operator is needed.

`api.py` reaches the API server, `informer.py` keeps what it says up to date, `objects.py` is what we read of it.
"""
