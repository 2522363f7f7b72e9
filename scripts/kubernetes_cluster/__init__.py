"""The parts of `scripts/kubernetes-cluster`: a small real Kubernetes on one machine, built from Go modules."""
