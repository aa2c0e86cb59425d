//! Takes from a licence text what differs between copies of the same licence: holders, years, case, layout.

/// Words after "copyright" in running legal text. A line that begins with one of these pairs belongs to the licence, any
/// other line that begins with "copyright" names a holder.
const LEGAL_AFTER_COPYRIGHT: [&str; 19] = [
    "license",
    "licence",
    "licenses",
    "notice",
    "notices",
    "owner",
    "owners",
    "holder",
    "holders",
    "statement",
    "statements",
    "law",
    "laws",
    "interest",
    "interests",
    "and",
    "or",
    "in",
    "to",
];

/// The text in lower case without copyright lines, digits, punctuation and layout: two texts that are equal after this
/// are copies of one text.
pub fn normalise(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !names_a_holder(line)) {
        for word in line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
            if !normal.is_empty() {
                normal.push(' ');
            }
            normal.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    normal
}

/// Whether a line says who holds the copyright, rather than being part of the licence.
fn names_a_holder(line: &str) -> bool {
    let line = line.to_lowercase();
    let line = line.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '(' && c != '©');
    if line.starts_with("(c)") || line.starts_with('©') || line.starts_with("all rights reserved") {
        return true;
    }
    let Some(after) = line.strip_prefix("copyright") else { return false };
    match after.split(|c: char| !c.is_alphabetic()).find(|word| !word.is_empty()) {
        Some(word) => after.contains(|c: char| c.is_ascii_digit()) || !LEGAL_AFTER_COPYRIGHT.contains(&word),
        None => after.contains(|c: char| c.is_ascii_digit()),
    }
}
