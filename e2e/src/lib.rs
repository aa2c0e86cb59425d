//! User stories on a real Kubernetes.
