//! HTML to Markdown, which keeps headings, lists and tables as lines.

use htmd::HtmlToMarkdown;

use super::{Extracted, ParseError, decode};

/// Elements whose content is not the document's text.
const SKIPPED: [&str; 7] = ["script", "style", "template", "svg", "iframe", "object", "canvas"];
/// Deeper than any page that people read; beyond it the time of HTML parsing grows with the square of the depth.
const MAX_NESTING: usize = 2_000;
/// Elements that never nest by themselves: they have no content, or the next of their kind ends them.
const FLAT: [&str; 36] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr", "p",
    "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "optgroup", "colgroup", "rb", "rt", "rp",
    "html", "head", "body", "caption", "path", "use",
];

pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ParseError> {
    let decoded = decode::decode_html(bytes)?;
    if nesting(&decoded.text) > MAX_NESTING {
        return Err(ParseError::malformed("HTML", format!("its elements nest deeper than {MAX_NESTING} levels")));
    }
    let converter = HtmlToMarkdown::builder().skip_tags(SKIPPED.to_vec()).scripting_enabled(false).build();
    let text = converter.convert(&decoded.text).map_err(|error| ParseError::malformed("HTML", error))?;
    Ok(Extracted { text, warnings: decoded.warnings })
}

/// How deep open tags nest, judged by the tags alone. An estimate suffices: it guards the parser against absurd input.
fn nesting(html: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end..]);
            continue;
        }
        let (closes, tag) = rest.strip_prefix('/').map_or((false, rest), |tag| (true, tag));
        let length = tag.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let name = tag[..length].to_ascii_lowercase();
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || FLAT.contains(&name.as_str()) {
            continue;
        }
        if closes {
            depth = depth.saturating_sub(1);
        } else {
            depth += 1;
            deepest = deepest.max(depth);
            if matches!(name.as_str(), "script" | "style") {
                let end = format!("</{name}");
                rest = rest.find(&end).map_or("", |end| &rest[end..]);
            }
        }
    }
    deepest
}
