//! Brings AgentPools and Pipelines to their desired state.
