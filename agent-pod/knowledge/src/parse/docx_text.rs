//! Walks the XML of a Word document event by event, with counters instead of recursion, and keeps its text.
//!
//! Paragraphs are separated by blank lines, headings become Markdown headings, list items and table rows one line each.

use std::io::BufRead;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

pub(super) enum XmlError {
    TextTooLarge,
    Invalid(String),
}

/// Appends the text of one part.
pub(super) fn append(part: impl BufRead, text: &mut String, max_text_bytes: u64) -> Result<(), XmlError> {
    let mut reader = Reader::from_reader(part);
    let mut writer = TextWriter::new(text);
    let mut buffer = Vec::new();
    loop {
        let event = reader.read_event_into(&mut buffer).map_err(|error| XmlError::Invalid(error.to_string()))?;
        match event {
            Event::Start(element) => writer.start(&element),
            Event::End(element) => writer.end(element.local_name().into_inner()),
            Event::Empty(element) => {
                writer.start(&element);
                writer.end(element.local_name().into_inner());
            }
            Event::Text(content) => writer.text(&content.xml10_content()),
            Event::CData(content) => writer.text(&content.into_inner()),
            Event::GeneralRef(reference) => {
                let character = resolve(&reference)?;
                writer.text(character.encode_utf8(&mut [0; 4]));
            }
            Event::DocType(_) => return Err(XmlError::Invalid("it declares a document type".to_owned())),
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
        if writer.out.len() as u64 > max_text_bytes {
            return Err(XmlError::TextTooLarge);
        }
        buffer.clear();
    }
    writer.finish();
    Ok(())
}

/// Only the five entities of XML itself exist, so nothing can expand.
fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    let name: &str = reference;
    match name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => reference
            .resolve_char_ref()
            .ok()
            .flatten()
            .ok_or_else(|| XmlError::Invalid("it refers to an unknown entity".to_owned())),
    }
}

struct TextWriter<'a> {
    out: &'a mut String,
    /// Depth below an element whose content is left out; zero when text counts.
    skipped: usize,
    inside_text: bool,
    tables: usize,
    paragraph: Paragraph,
    /// Those in which the paragraph lies: one is in another where a text box hangs on it.
    outer: Vec<Paragraph>,
    after_list_item: bool,
}

#[derive(Default)]
struct Paragraph {
    begun: bool,
    heading: usize,
    list_item: bool,
}

impl<'a> TextWriter<'a> {
    fn new(out: &'a mut String) -> Self {
        let mut writer = Self {
            out,
            skipped: 0,
            inside_text: false,
            tables: 0,
            paragraph: Paragraph::default(),
            outer: Vec::new(),
            after_list_item: false,
        };
        writer.blank_line();
        writer
    }

    fn start(&mut self, element: &BytesStart<'_>) {
        if self.skipped > 0 {
            self.skipped += 1;
            return;
        }
        match element.local_name().into_inner() {
            // A text box is written twice, for new readers and as a fallback for old ones; so is text that was moved while
            // changes are tracked, where it was and where it is.
            "Fallback" | "moveFrom" => self.skipped = 1,
            "t" => self.inside_text = true,
            "p" => {
                self.end_paragraph();
                self.outer.push(std::mem::take(&mut self.paragraph));
            }
            "pStyle" => self.paragraph.heading = heading_level(element),
            "numPr" => self.paragraph.list_item = true,
            "tab" if self.paragraph.begun => self.out.push('\t'),
            "br" | "cr" if self.paragraph.begun => self.out.push(if self.tables > 0 { ' ' } else { '\n' }),
            "noBreakHyphen" => self.text_of_paragraph("-"),
            "tbl" => {
                self.end_paragraph();
                if self.tables == 0 {
                    self.blank_line();
                }
                self.tables += 1;
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        match name {
            "t" => self.inside_text = false,
            "p" => {
                self.end_paragraph();
                self.paragraph = self.outer.pop().unwrap_or_default();
            }
            "tc" => {
                // Spaces only: an empty first cell must not swallow the end of the row above.
                self.out.truncate(self.out.trim_end_matches(' ').len());
                self.out.push_str(" | ");
            }
            "tr" => {
                self.trim_row();
                self.out.push('\n');
            }
            "tbl" => {
                self.tables = self.tables.saturating_sub(1);
                if self.tables == 0 {
                    self.blank_line();
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, content: &str) {
        if self.skipped == 0 && self.inside_text {
            self.text_of_paragraph(content);
        }
    }

    fn text_of_paragraph(&mut self, content: &str) {
        if !self.paragraph.begun {
            self.paragraph.begun = true;
            if self.after_list_item && !self.paragraph.list_item {
                self.blank_line();
            }
            if self.tables == 0 {
                if self.paragraph.heading > 0 {
                    self.out.extend(std::iter::repeat_n('#', self.paragraph.heading));
                    self.out.push(' ');
                } else if self.paragraph.list_item {
                    self.out.push_str("- ");
                }
            }
        }
        self.out.push_str(content);
    }

    fn end_paragraph(&mut self) {
        if !self.paragraph.begun {
            return;
        }
        self.paragraph.begun = false;
        self.after_list_item = self.tables == 0 && self.paragraph.list_item;
        if self.tables > 0 {
            self.out.push(' ');
        } else if self.paragraph.list_item {
            self.trim_end();
            self.out.push('\n');
        } else {
            self.blank_line();
        }
    }

    fn blank_line(&mut self) {
        self.trim_end();
        self.after_list_item = false;
        if !self.out.is_empty() {
            self.out.push_str("\n\n");
        }
    }

    fn trim_end(&mut self) {
        self.out.truncate(self.out.trim_end().len());
    }

    fn trim_row(&mut self) {
        self.out.truncate(self.out.trim_end_matches([' ', '|']).len());
    }

    fn finish(&mut self) {
        self.trim_end();
        self.out.push('\n');
    }
}

/// `Heading1` to `Heading9` and `Title`; styles of other names are body text.
fn heading_level(style: &BytesStart<'_>) -> usize {
    let value = style
        .attributes()
        .flatten()
        .find(|attribute| attribute.key.local_name().into_inner() == "val")
        .map(|attribute| attribute.value.to_ascii_lowercase().replace(' ', ""));
    match value.as_deref() {
        Some("title") => 1,
        Some(value) => value
            .strip_prefix("heading")
            .and_then(|level| level.parse().ok())
            .filter(|level| (1..=9).contains(level))
            .map_or(0, |level: usize| level.min(6)),
        None => 0,
    }
}
