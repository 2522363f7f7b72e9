"""Tests against a real Kubernetes, which `scripts/kubernetes-cluster` makes on this machine."""
