//! Which licence a file is, as far as its name or its crate's manifest says so.

use spdx::{Expression, ParseMode};

/// Words in a file name, the more telling first, with the licence they stand for.
const NAMED: [(&str, &str); 16] = [
    ("llvm", "Apache-2.0 WITH LLVM-exception"),
    ("mit0", "MIT-0"),
    ("mit-0", "MIT-0"),
    ("apache", "Apache-2.0"),
    ("mit", "MIT"),
    ("unlicense", "Unlicense"),
    ("zlib", "Zlib"),
    ("boost", "BSL-1.0"),
    ("cc0", "CC0-1.0"),
    ("0bsd", "0BSD"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd3", "BSD-3-Clause"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd2", "BSD-2-Clause"),
    ("isc", "ISC"),
    ("mpl", "MPL-2.0"),
];

/// Families whose member a file name leaves open: the crate's manifest must name exactly one of them.
const FAMILIES: [(&str, &str); 2] = [("bsd", "BSD-"), ("unicode", "Unicode-")];

/// What a file name says.
enum Name {
    /// It names the licence.
    Licence(&'static str),
    /// It names a family.
    Family(&'static str),
    /// It holds a licence and does not say which: `LICENSE`, `COPYING.txt`.
    Plain,
    /// It holds something else, or a licence that is not the crate's own: `NOTICE`, `LICENSE-THIRD-PARTY`.
    Other,
}

/// The SPDX name of the licence in a file of this name, of a crate whose manifest has this `license` field. `None` where
/// neither tells.
pub fn truth(file_name: &str, manifest: Option<&str>) -> Option<String> {
    let lower = file_name.to_lowercase();
    match read_name(&lower) {
        Name::Licence(licence) => Some(licence.to_owned()),
        Name::Family(prefix) => only(licences(manifest?).into_iter().filter(|name| name.starts_with(prefix))),
        Name::Plain => only(licences(manifest?).into_iter()),
        Name::Other => None,
    }
}

fn read_name(lower: &str) -> Name {
    if lower.starts_with("unlicense") {
        return Name::Licence("Unlicense");
    }
    let Some(rest) = ["licenses", "license", "licence", "copying"].iter().find_map(|stem| lower.strip_prefix(stem))
    else {
        return Name::Other;
    };
    let mut hint = rest.trim_start_matches(['-', '_', '.']);
    for ending in ["txt", "md", "html"] {
        hint = hint.strip_suffix(ending).map_or(hint, |stem| stem.trim_end_matches('.'));
    }
    if hint.is_empty() {
        return Name::Plain;
    }
    if let Some((_, licence)) = NAMED.iter().find(|(word, _)| hint.contains(word)) {
        return Name::Licence(licence);
    }
    FAMILIES.iter().find(|(word, _)| hint.contains(word)).map_or(Name::Other, |(_, prefix)| Name::Family(prefix))
}

/// The licences that a manifest's expression names; none where it cannot be read.
fn licences(manifest: &str) -> Vec<String> {
    let Ok(expression) = Expression::parse_mode(manifest, ParseMode::LAX) else { return Vec::new() };
    expression.requirements().map(|requirement| requirement.req.to_string()).collect()
}

fn only(mut names: impl Iterator<Item = String>) -> Option<String> {
    let first = names.next()?;
    names.next().is_none().then_some(first)
}
