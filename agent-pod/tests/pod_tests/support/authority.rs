//! Certificates for tests.

use std::{path::PathBuf, process::Command};

use super::Place;

/// Who vouches for certificates, made by the command `openssl`; nothing of it outlives the test.
pub(crate) struct Authority<'a> {
    place: &'a Place,
    name: &'static str,
}

impl<'a> Authority<'a> {
    /// `None`, and said so, where there is no `openssl`.
    pub(crate) fn new(place: &'a Place, name: &'static str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: there is no openssl command (make setup names its package)");
            return None;
        }
        let authority = Self { place, name };
        let (key, certificate) = (authority.file("ca.key"), authority.file("ca.pem"));
        let subject = format!("/CN={name}");
        place.write(&format!("{name}/made"), "");
        openssl(place, &["req", "-x509", "-days", "2", "-subj", &subject, "-out", &certificate, "-keyout", &key]);
        Some(authority)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.place.path(&self.file("ca.pem"))
    }

    /// A certificate of this machine and its key, as files.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let [key, request, certificate] = ["key", "csr", "pem"].map(|end| self.file(&format!("{name}.{end}")));
        let extensions = self.file("extensions");
        self.place.write(&extensions, "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n");
        let subject = format!("/CN={name}");
        openssl(self.place, &["req", "-subj", &subject, "-out", &request, "-keyout", &key]);
        let by = [self.file("ca.pem"), self.file("ca.key")];
        let sign = ["x509", "-req", "-in", &request, "-CA", &by[0], "-CAkey", &by[1], "-CAcreateserial", "-days", "2"];
        openssl(self.place, &[&sign[..], &["-extfile", &extensions, "-out", &certificate]].concat());
        (certificate, key)
    }
}

fn openssl(place: &Place, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(arguments);
    if arguments[0] == "req" {
        command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    }
    let ran = command.current_dir(place.path("")).output().expect("openssl runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
