//! Names of the broker's things: streams, subjects, keys. What a caller names may hold any character; a subject may not.
//!
//! A name becomes one token: letters, digits, `-` and `_` stay, any other byte becomes `=` and two hexadecimal digits, and
//! the empty name becomes `=`. Keys and events are paths: `/` becomes the broker's `.`, so that a prefix of a path can be
//! asked for by a wildcard.

/// The longest subject that we write; a server refuses control lines above 4 KiB by closing the connection.
pub(super) const LONGEST: usize = 2_000;

/// A name as one token.
pub(super) fn token(name: &str) -> String {
    if name.is_empty() {
        return "=".to_owned();
    }
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("={byte:02X}"));
        }
    }
    token
}

/// The name of a token, if `token` makes it.
pub(super) fn name(token: &str) -> Option<String> {
    if token == "=" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A path as tokens.
pub(super) fn path(path: &str) -> String {
    path.split('/').map(token).collect::<Vec<_>>().join(".")
}

/// The path of tokens.
pub(super) fn path_of(tokens: &str) -> Option<String> {
    let names: Option<Vec<String>> = tokens.split('.').map(name).collect();
    names.map(|names| names.join("/"))
}

/// A wildcard that matches all paths with this prefix, and some others.
pub(super) fn wildcard(prefix: &str) -> String {
    match prefix.rsplit_once('/') {
        Some((folder, _)) => format!("{}.>", path(folder)),
        None => ">".to_owned(),
    }
}

/// A short token for an id of any length. Two ids with the same one cannot be made on purpose.
pub(super) fn digest(id: &str) -> String {
    blake3::hash(id.as_bytes()).to_hex()[..32].to_owned()
}

/// Whether this may begin the names of streams: checked once, so that nothing has to be escaped.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

/// Whether this is a subject of our alphabet without wildcards.
pub(super) fn is_subject(subject: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte);
    (1..=LONGEST).contains(&subject.len()) && subject.split('.').all(|word| !word.is_empty() && word.bytes().all(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_stay_apart() {
        let names = ["", "a", "=", "a b", "ä", "a.b", "*", ">", "a=2Fb", "..", "doc/1"];
        let tokens: Vec<String> = names.iter().map(|name| token(name)).collect();
        for (name_before, token) in names.iter().zip(&tokens) {
            assert_eq!(name(token).as_deref(), Some(*name_before));
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte)), "{token}");
        }
        let different: std::collections::BTreeSet<_> = tokens.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn paths_come_back() {
        for before in ["", "/", "a", "a/b", "/a//b/", "a.b/c*"] {
            assert_eq!(path_of(&path(before)).as_deref(), Some(before));
        }
        assert_eq!(path("doc/1.txt"), "doc.1=2Etxt");
    }

    #[test]
    fn what_no_name_makes_has_none() {
        for token in ["=G0", "=2", "a=", "=FF"] {
            assert_eq!(name(token), None, "{token}");
        }
    }
}
