"""The Kubernetes operator: it makes what an `Ensemble` object asks for, and is not in the path of jobs or events.

`resource.py` declares the custom resource, `conversion.py` makes an ensemble of it, `reconcile.py` decides what is to
be done (it is pure), `controller.py` does it. `service_pod.py` is the process that runs one ensemble in the cluster.
"""
