//! User stories on a real Kubernetes: what they share.
//!
//! A story has a namespace of its own in the cluster that KUBECONFIG names, runs inside the cluster's network
//! (`e2e/cluster/run.sh`), waits for what it expects and never sleeps. Where it fails, the pods, events and logs of its
//! namespace are printed. This crate knows Docket by its API, its charts, its gateway and what its broker counts, never by its
//! code.

mod audit;
mod away;
mod broker;
mod command;
mod connection;
mod copies;
mod door;
mod dump;
mod elsewhere;
mod essence;
mod expectation;
pub mod faults;
mod gateway;
mod history;
mod installation;
mod namespace;
mod objects;
mod postgres;
mod processes;
mod servers;
mod steps;

pub use audit::{AuditLog, Granted, Request, Right, granted_to, unused};
pub use away::answered;
pub use broker::{Broker, Delivered};
pub use command::{Output, run};
pub use connection::connect;
pub use door::{Answer, Door};
pub use elsewhere::Elsewhere;
pub use essence::essence;
pub use expectation::*;
pub use gateway::{Ended, Gateway};
pub use installation::{
    DEFINITIONS, HOME, Installation, OPERATOR, RELEASE, helm, helm_charts, helm_rollback, installed, is_one_user,
    kustomize, remove,
};
pub use namespace::{Cluster, with_namespace, with_namespace_only};
pub use objects::{Kind, OWNED};
pub use postgres::Postgres;
pub use processes::{Process, crash, processes_of};
pub use steps::Steps;
