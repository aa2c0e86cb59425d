//! The short form of `make control-faults`: the operator dies at each write of two workloads, loses answers, starts three
//! times at once, and does nothing where nothing is to be done. Runs on a cluster with fake nodes.

use anyhow::{Result, ensure};
use e2e::faults::{
    Lab,
    cases::{self, SHORT, World},
    programs,
};

#[tokio::test]
#[ignore = "needs a cluster with fake nodes"]
async fn the_operator_comes_to_the_same_end_whatever_goes_wrong() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("docket-control-faults-{}", std::process::id()));
    let lab = Lab::open(programs::operator()?, &programs::nats()?, folder.clone()).await?;
    let world = World { lab: &lab, short: true, at_once: 8 };
    let reports = cases::run(&world, |case| SHORT.contains(&case.id)).await;
    ensure!(reports.len() == SHORT.len(), "a case is missing");
    let failed: Vec<&str> = reports.iter().filter(|report| !report.holds()).map(|report| report.id).collect();
    ensure!(failed.is_empty(), "{} failed; logs are in {}", failed.join(", "), folder.display());
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
