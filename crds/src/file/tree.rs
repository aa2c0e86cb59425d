//! A text as trees of values in which each key and value knows its place.
//!
//! YAML is a superset of JSON, so one reader serves both. It must not know any schema. Whatever the text is, reading it
//! takes memory and time in proportion to [`super::MAX_FILE_BYTES`]: nodes, depth and what aliases copy are bounded.

use std::collections::HashMap;

use serde_json::Number;
use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Tag};

use super::{
    error::Finding,
    place::{self, Place, Step},
    scalar,
};

/// Most keys, items and values of a file, those that aliases stand for included.
const MAX_NODES: usize = 200_000;

/// Most bytes of text that aliases stand for.
const MAX_ALIASED_BYTES: usize = 1024 * 1024;

/// Deepest nesting; a resource needs a dozen levels, a JSON schema within it some more.
const MAX_DEPTH: usize = 64;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A field of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

impl Entry {
    /// Where an error of this field is shown: at its value where that is on the key's line, otherwise at its key.
    pub(super) fn place(&self) -> Place {
        let beside = self.node.place.line == self.key_place.line;
        if beside && !matches!(self.node.value, Value::Null) { self.node.place } else { self.key_place }
    }
}

impl Node {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The place of the field at `path`, or of the nearest one around it that exists.
    pub(super) fn place_of(&self, path: &str) -> Place {
        let (mut node, mut place) = (self, self.place);
        for step in place::steps(path) {
            match (&node.value, step) {
                (Value::Map(_), Step::Field(name)) => match node.entry(name) {
                    Some(entry) => (node, place) = (&entry.node, entry.place()),
                    None => break,
                },
                (Value::List(items), Step::Index(index)) => match items.get(index) {
                    Some(item) => (node, place) = (item, item.place),
                    None => break,
                },
                _ => break,
            }
        }
        place
    }

    fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match &self.value {
            Value::List(items) => Box::new(items.iter()),
            Value::Map(entries) => Box::new(entries.iter().map(|entry| &entry.node)),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn size(&self) -> Size {
        let own = match &self.value {
            Value::Text(text) => text.len(),
            Value::Map(entries) => entries.iter().map(|entry| entry.key.len()).sum(),
            _ => 0,
        };
        let leaf = Size { nodes: 1, bytes: own, depth: 1 };
        self.children().map(Self::size).fold(leaf, |sum, child| Size {
            nodes: sum.nodes + child.nodes,
            bytes: sum.bytes + child.bytes,
            depth: sum.depth.max(child.depth + 1),
        })
    }
}

struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// The documents of a text, and what is wrong with its form. After an error the reader cannot go on from, the documents
/// before it are still there.
pub(super) struct Trees {
    pub(super) documents: Vec<Node>,
    pub(super) findings: Vec<Finding>,
}

/// Reads all documents that are not empty.
pub(super) fn parse(text: &str) -> Trees {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let outcome = match event {
            Ok((event, span)) => builder.event(event, at(span.start)),
            Err(error) => Err(builder.finding(at(*error.marker()), format!("is not YAML: {}", error.info()))),
        };
        if let Err(fatal) = outcome {
            builder.findings.push(fatal);
            break;
        }
    }
    Trees { documents: builder.documents, findings: builder.findings }
}

fn at(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    findings: Vec<Finding>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    aliased_bytes: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    anchor: usize,
    place: Place,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, places: HashMap<String, Place>, key: Option<(String, Place)> },
}

impl Builder {
    /// Takes one event; an error is one after which nothing can be read.
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Finding> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), place);
                self.close(Node { value, place }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => self.open(Content::List(Vec::new()), anchor, tag.as_deref(), place),
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), places: HashMap::new(), key: None };
                self.open(content, anchor, tag.as_deref(), place)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { anchor, place, content }) => {
                    let value = match content {
                        Content::List(items) => Value::List(items),
                        Content::Map { entries, .. } => Value::Map(entries),
                    };
                    self.close(Node { value, place }, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Value {
        match tag.map(|tag| tag.core_suffix()) {
            None if style == ScalarStyle::Plain => scalar::plain(text),
            None | Some(Some("str")) => Value::Text(text.to_owned()),
            Some(Some("null" | "bool" | "int" | "float")) => scalar::plain(text),
            Some(_) => {
                self.unknown_tag(tag, place);
                Value::Text(text.to_owned())
            }
        }
    }

    fn open(&mut self, content: Content, anchor: usize, tag: Option<&Tag>, place: Place) -> Result<(), Finding> {
        if let Some(Open { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(self.finding(place, "a field's name must be text"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.finding(place, format!("is nested deeper than {MAX_DEPTH} levels")));
        }
        if tag.is_some_and(|tag| !matches!(tag.core_suffix(), Some("map" | "seq"))) {
            self.unknown_tag(tag, place);
        }
        self.open.push(Open { anchor, place, content });
        Ok(())
    }

    fn unknown_tag(&mut self, tag: Option<&Tag>, place: Place) {
        if let Some(tag) = tag {
            let message = format!("the tag \"{}{}\" is not known here", tag.original_handle(), tag.suffix());
            let finding = self.finding(place, message);
            self.findings.push(finding);
        }
    }

    /// Puts a finished value where it belongs.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Finding> {
        self.nodes += 1;
        if anchor > 0 {
            // The copy kept for aliases counts as well: anchors within anchors are copied at each level.
            self.count(&node.size(), node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        if self.nodes > MAX_NODES {
            return Err(self.too_many(node.place));
        }
        match self.open.last_mut() {
            None => {
                if !matches!(node.value, Value::Null) {
                    self.documents.push(node);
                }
                Ok(())
            }
            Some(Open { content: Content::List(items), .. }) => {
                items.push(node);
                Ok(())
            }
            Some(Open { content: Content::Map { key, .. }, .. }) if key.is_none() => {
                *key = Some((key_text(&node.value), node.place));
                Ok(())
            }
            Some(Open { content: Content::Map { entries, places, key }, .. }) => {
                let Some((key, key_place)) = key.take() else { return Ok(()) };
                match places.get(&key).copied() {
                    None => {
                        places.insert(key.clone(), key_place);
                        entries.push(Entry { key, key_place, node });
                    }
                    Some(first) => self.repeated_key(&key, key_place, first),
                }
                Ok(())
            }
        }
    }

    fn repeated_key(&mut self, key: &str, place: Place, first: Place) {
        let field = place::field(&self.path(), key);
        let message = format!("is written twice; first in line {}", first.line);
        self.findings.push(Finding { place, field, message, hides_rules: true });
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Finding> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self.finding(place, "the alias stands within its own anchor"));
        };
        let size = node.size();
        let node = node.clone();
        if self.open.len() + size.depth > MAX_DEPTH {
            return Err(self.finding(place, format!("is nested deeper than {MAX_DEPTH} levels")));
        }
        self.count(&size, place)?;
        self.close(node, 0)
    }

    fn count(&mut self, size: &Size, place: Place) -> Result<(), Finding> {
        self.nodes += size.nodes;
        self.aliased_bytes += size.bytes;
        if self.nodes > MAX_NODES || self.aliased_bytes > MAX_ALIASED_BYTES {
            Err(self.too_many(place))
        } else {
            Ok(())
        }
    }

    fn too_many(&self, place: Place) -> Finding {
        self.finding(place, format!("holds more than {MAX_NODES} values, or aliases for more than 1 MiB of text"))
    }

    fn finding(&self, place: Place, message: impl Into<String>) -> Finding {
        Finding { place, field: self.path(), message: message.into(), hides_rules: true }
    }

    /// The path of the value that is being read.
    fn path(&self) -> String {
        self.open.iter().fold(String::new(), |path, open| match &open.content {
            Content::List(items) => place::item(&path, items.len()),
            Content::Map { key: Some((key, _)), .. } => place::field(&path, key),
            Content::Map { .. } => path,
        })
    }
}

/// A key as text: YAML allows `1: one`.
fn key_text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        _ => "null".to_owned(),
    }
}
