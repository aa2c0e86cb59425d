//! Where a user's claims are mounted into agents, and which of them is their state folder. Pure.

use crds::Volume;

use crate::pods;

/// The volume that is the agents' state folder.
pub const STATE: &str = "state";

/// Where a claim is mounted.
pub fn mount_path(volume: &Volume) -> String {
    let usual = || if volume.name == STATE { pods::HOME.to_owned() } else { format!("/volumes/{}", volume.name) };
    volume.mount_path.clone().unwrap_or_else(usual)
}

/// Whether a claim is mounted in the place of the folder that ends with the pod, whatever it is called.
pub fn is_state(volume: &Volume) -> bool {
    mount_path(volume).trim_end_matches('/') == pods::HOME
}
