//! Puts the corpus together and writes it: documents, feedback, and a record of how it was divided.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    collect::{LicenceFile, Package},
    normalise::normalise,
    review::{self, Candidate},
    similarity::{NEAR_COPY, Shingles},
    split::{Group, Side, split},
    truth::truth,
};

/// How many documents go through the generating stages.
pub const REVIEWED: usize = 40;

/// Head that the feedback is for.
const HEAD: &str = "spdx";

/// One licence file as a document.
#[derive(Clone, Debug)]
pub struct Document {
    /// `crate-version/FILE`.
    pub id: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Name of its crate.
    pub package: String,
    /// Version of its crate.
    pub version: String,
    /// Name of the file.
    pub file: String,
    /// SPDX name, where known.
    pub label: Option<String>,
    /// Digest of the normalised text.
    pub group: String,
    /// The normalised text.
    normal: String,
    /// Length of the text in bytes.
    bytes: usize,
}

/// All documents and what was decided about them.
pub struct Corpus {
    /// Those to review first, then the others, each by id.
    pub documents: Vec<Document>,
    /// Ids of those to review.
    pub reviewed: BTreeSet<String>,
    /// The side of each labelled group.
    pub sides: BTreeMap<String, Side>,
    /// Held-out groups that are no near copy of a trained text.
    pub far: BTreeSet<String>,
}

#[derive(Serialize)]
struct DocumentLine<'a> {
    id: &'a str,
    path: &'a Path,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(rename = "crate")]
    package: &'a str,
    version: &'a str,
    file: &'a str,
    review: bool,
}

#[derive(Serialize)]
struct FeedbackLine<'a> {
    document: &'a str,
    head: &'a str,
    label: &'a str,
    split: Side,
}

/// What one side has of one label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Groups of equal text.
    pub groups: usize,
    /// Files.
    pub documents: usize,
}

/// How the corpus was divided, for people and for [`crate::check`].
#[derive(Serialize)]
struct Division<'a> {
    documents: usize,
    bytes: usize,
    labelled: usize,
    reviewed: usize,
    labels: BTreeMap<&'a str, BTreeMap<Side, Count>>,
    far_from_training: Vec<&'a str>,
}

impl Document {
    /// Reads one file of a crate.
    pub fn new(package: &Package, file: LicenceFile) -> Self {
        let normal = normalise(&file.text);
        Self {
            id: format!("{}-{}/{}", package.name, package.version, file.name),
            label: truth(&file.name, package.license.as_deref()),
            path: file.path,
            package: package.name.clone(),
            version: package.version.clone(),
            file: file.name,
            group: blake3::hash(normal.as_bytes()).to_hex().to_string(),
            bytes: file.text.len(),
            normal,
        }
    }
}

impl Corpus {
    /// Reads the licence files of these crates and decides on labels, sides and reviews.
    pub fn gather(packages: &[Package]) -> Result<Self> {
        let mut documents = Vec::new();
        for package in packages {
            documents.extend(package.licence_files()?.into_iter().map(|file| Document::new(package, file)));
        }
        Ok(Self::of(documents))
    }

    /// Decides on sides and reviews.
    pub fn of(mut documents: Vec<Document>) -> Self {
        withdraw_contradictions(&mut documents);
        let sides = split(&groups(&documents));
        let far = far_from_training(&documents, &sides);
        let candidates: Vec<_> = documents.iter().map(Document::candidate).collect();
        let reviewed = review::choose(&candidates, REVIEWED);
        documents.sort_by(|a, b| (!reviewed.contains(&a.id), &a.id).cmp(&(!reviewed.contains(&b.id), &b.id)));
        Self { documents, reviewed, sides, far }
    }

    /// Writes `documents.jsonl`, `feedback.jsonl` and `corpus.json` into a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        write_lines(
            &folder.join("documents.jsonl"),
            self.documents.iter().map(|document| self.document_line(document)),
        )?;
        write_lines(&folder.join("feedback.jsonl"), self.feedback())?;
        let path = folder.join("corpus.json");
        let text = serde_json::to_string_pretty(&self.division()).context("failed to describe the corpus")?;
        fs::write(&path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
    }

    /// What each side has of each label.
    pub fn counts(&self) -> BTreeMap<&str, BTreeMap<Side, Count>> {
        let mut counts: BTreeMap<&str, BTreeMap<Side, Count>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for document in &self.documents {
            let (Some(label), Some(side)) = (document.label.as_deref(), self.sides.get(&document.group)) else {
                continue;
            };
            let count = counts.entry(label).or_default().entry(*side).or_default();
            count.documents += 1;
            count.groups += usize::from(seen.insert(&document.group));
        }
        counts
    }

    fn document_line<'a>(&'a self, document: &'a Document) -> DocumentLine<'a> {
        DocumentLine {
            id: &document.id,
            path: &document.path,
            metadata: Metadata {
                package: &document.package,
                version: &document.version,
                file: &document.file,
                review: self.reviewed.contains(&document.id),
            },
        }
    }

    /// Feedback lines in an order that mixes the labels: by digest of the id, so that the first twenty are a fair sample.
    fn feedback(&self) -> Vec<FeedbackLine<'_>> {
        let mut mixed: Vec<_> = self.documents.iter().collect();
        mixed.sort_by_key(|document| *blake3::hash(document.id.as_bytes()).as_bytes());
        mixed
            .into_iter()
            .filter_map(|document| {
                let (label, split) = (document.label.as_deref()?, *self.sides.get(&document.group)?);
                Some(FeedbackLine { document: &document.id, head: HEAD, label, split })
            })
            .collect()
    }

    fn division(&self) -> Division<'_> {
        let held_out_far = |document: &&Document| self.far.contains(&document.group) && document.label.is_some();
        Division {
            documents: self.documents.len(),
            bytes: self.documents.iter().map(|document| document.bytes).sum(),
            labelled: self.documents.iter().filter(|document| document.label.is_some()).count(),
            reviewed: self.reviewed.len(),
            labels: self.counts(),
            far_from_training: self
                .documents
                .iter()
                .filter(held_out_far)
                .map(|document| document.id.as_str())
                .collect(),
        }
    }
}

impl Document {
    fn candidate(&self) -> Candidate {
        Candidate { id: self.id.clone(), label: self.label.clone(), group: self.group.clone(), bytes: self.bytes }
    }
}

/// Takes the label from files whose text carries another label elsewhere: one of the two must be wrong.
fn withdraw_contradictions(documents: &mut [Document]) {
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for document in documents.iter() {
        labels.entry(document.group.clone()).or_default().extend(document.label.clone());
    }
    for document in documents.iter_mut().filter(|document| labels[&document.group].len() > 1) {
        document.label = None;
    }
}

fn groups(documents: &[Document]) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for document in documents {
        let Some(label) = &document.label else { continue };
        let new = || Group { digest: document.group.clone(), label: label.clone(), documents: 0 };
        groups.entry(&document.group).or_insert_with(new).documents += 1;
    }
    groups.into_values().collect()
}

fn far_from_training(documents: &[Document], sides: &BTreeMap<String, Side>) -> BTreeSet<String> {
    let texts: BTreeMap<&str, &str> =
        documents.iter().map(|document| (document.group.as_str(), document.normal.as_str())).collect();
    let of_side = |wanted: Side| -> Vec<(&str, Shingles)> {
        let groups = sides.iter().filter(|(_, side)| **side == wanted);
        groups
            .filter_map(|(group, _)| texts.get(group.as_str()).map(|text| (group.as_str(), Shingles::of(text))))
            .collect()
    };
    let trained = of_side(Side::Train);
    let near = |held_out: &Shingles| trained.iter().any(|(_, text)| held_out.similarity(text) >= NEAR_COPY);
    of_side(Side::Test).into_iter().filter(|(_, text)| !near(text)).map(|(group, _)| group.to_owned()).collect()
}

fn write_lines<T: Serialize>(path: &Path, lines: impl IntoIterator<Item = T>) -> Result<()> {
    let failed = || format!("failed to write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(failed)?);
    for line in lines {
        serde_json::to_writer(&mut file, &line).with_context(failed)?;
        file.write_all(b"\n").with_context(failed)?;
    }
    file.flush().with_context(failed)
}
