//! Bad input ends in a clear error within its limits, and never in this process.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use knowledge::parse::{ChildCommand, Limits, MediaType, ParseError, parse_file};

use crate::fixtures::{archive, docx, paragraph, pdf, pdf_page};
use crate::{child, read, read_within};

fn reason(bytes: &[u8], name: &str) -> &'static str {
    let error = read(bytes, name).expect_err("an error");
    assert!(error.is_permanent());
    error.reason()
}

#[test]
fn empty_and_blank_documents_are_empty() {
    assert_eq!(reason(b"", "a.txt"), "DocumentEmpty");
    assert_eq!(reason(b" \n\t\r\n ", "a.txt"), "DocumentEmpty");
    assert_eq!(reason(b"\xef\xbb\xbf\n", "a.txt"), "DocumentEmpty");
    assert_eq!(reason(b"<html><body></body></html>", "a.html"), "DocumentEmpty");
    assert_eq!(reason(&docx(""), "a.docx"), "DocumentEmpty");
}

#[test]
fn binaries_are_refused_whatever_their_name() {
    assert_eq!(reason(b"\x7fELF\x02\x01\x01\0\0\0\0", "a.txt"), "DocumentBinary");
    assert_eq!(reason(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.md"), "DocumentBinary");
    assert_eq!(reason(&(1..=255).cycle().take(4096).collect::<Vec<u8>>(), "a"), "DocumentBinary");
    assert_eq!(reason(b"\xff\xd8\xff\xe0\xe1\xe2\xe3\xe4\xe5", "a.txt"), "DocumentBinary");
}

#[test]
fn other_archives_and_old_word_files_are_not_supported() {
    assert_eq!(reason(&archive(&[("a.txt", b"text")]), "a.zip"), "FormatUnsupported");
    assert_eq!(reason(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and so on", "a.doc"), "FormatUnsupported");
}

#[test]
fn a_name_alone_makes_no_pdf() {
    assert_eq!(reason(b"just text", "a.pdf"), "DocumentMalformed");
    assert_eq!(reason(b"just text", "a.docx"), "DocumentMalformed");
}

#[test]
fn a_sparse_file_of_200_mib_is_refused_unread() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("big.txt");
    std::fs::File::create(&path).and_then(|file| file.set_len(200 << 20)).expect("sparse file");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let error = runtime.block_on(parse_file(&path, &Limits::default(), &child())).expect_err("too large");
    // The whole size is named although no more than the limit may be read, so it is the size that was looked up.
    assert_eq!(error, ParseError::TooLarge { bytes: 200 << 20, limit: 64 << 20 });
}

#[test]
fn unreadable_files_say_why() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    for path in ["/nonexistent/file", "/dev/zero", "/"] {
        let error = runtime.block_on(parse_file(path.as_ref(), &Limits::default(), &child())).expect_err("unreadable");
        assert_eq!(error.reason(), "DocumentUnreadable", "{path}");
    }
}

#[test]
fn an_encrypted_pdf_is_named_so() {
    let key = "00".repeat(32);
    let encrypt = format!(
        "/Encrypt << /Filter /Standard /V 1 /R 2 /O <{key}> /U <{key}> /P -4 >> /ID [<{id}> <{id}>]",
        id = "ab".repeat(16)
    );
    assert_eq!(reason(&pdf_page(&["secret"], &encrypt), "a.pdf"), "DocumentEncrypted");
}

#[test]
fn an_encrypted_word_document_is_named_so() {
    let mut bytes = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    bytes.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(reason(&bytes, "a.docx"), "DocumentEncrypted");
}

#[test]
fn a_truncated_pdf_is_an_error_or_a_warning() {
    let whole = pdf_page(&["Permission is hereby granted"], "");
    assert_eq!(reason(&whole[..60], "a.pdf"), "DocumentTruncated");
    let without_table = &whole[..whole.len() - 150];
    match read(without_table, "a.pdf") {
        Ok(parsed) => assert!(parsed.warnings[0].contains("no end mark"), "{:?}", parsed.warnings),
        Err(error) => assert_eq!(error.reason(), "DocumentTruncated"),
    }
}

#[test]
fn a_truncated_word_document_is_named_so() {
    let whole = docx(&paragraph(&"some text ".repeat(50)));
    assert_eq!(reason(&whole[..whole.len() - 40], "a.docx"), "DocumentTruncated");
}

#[test]
fn a_pdf_that_recurses_ends_with_an_error() {
    let own_child =
        pdf(&["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R] /Count 1 /Parent 2 0 R >>"], "");
    let own_length = pdf(
        &[
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            "<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources 5 0 R >>",
            "<< /Length 4 0 R >>\nstream\nBT ET\nendstream",
            "5 0 R",
        ],
        "",
    );
    let deep = pdf(&["<< /Type /Catalog /Pages 2 0 R >>", &"[".repeat(200_000)], "");
    let own_form = pdf(
        &[
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            "<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /XObject << /X 5 0 R >> >> >>",
            "<< /Length 5 >>\nstream\n/X Do\nendstream",
            "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >> /Length 5 >>\n\
             stream\n/X Do\nendstream",
        ],
        "",
    );
    for (name, bytes) in [("own child", own_child), ("own length", own_length), ("deep", deep), ("own form", own_form)]
    {
        let error = read(&bytes, "a.pdf").expect_err(name);
        assert!(error.is_permanent(), "{name}: {error}");
    }
}

#[test]
fn a_page_count_out_of_the_air_ends_soon() {
    let bytes = pdf(&["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count 2000000000 >>"], "");
    let limits = Limits { cpu: Duration::from_secs(10), wall: Duration::from_secs(20), ..Limits::default() };
    assert!(read_within(&bytes, "a.pdf", &limits, &child()).is_err());
}

#[test]
fn html_nested_100_000_deep_is_malformed() {
    let bytes = format!("<html>{}deep", "<div>".repeat(100_000));
    assert_eq!(reason(bytes.as_bytes(), "a.html"), "DocumentMalformed");
    let flat = format!("<html>{}", "<p>many <br> paragraphs".repeat(20_000));
    assert_eq!(read(flat.as_bytes(), "a.html").expect("flat").media_type, MediaType::Html);
}

#[test]
fn a_word_document_nested_100_000_deep_is_read() {
    let (open, close) = ("<w:tbl><w:tr><w:tc>", "</w:tc></w:tr></w:tbl>");
    let body = format!("{}{}{}", open.repeat(100_000), paragraph("deep"), close.repeat(100_000));
    assert_eq!(read(&docx(&body), "a.docx").expect("parsed").text.trim_matches(['|', ' ', '\n']), "deep");
}

#[test]
fn a_zip_bomb_is_stopped_by_its_ratio() {
    let bomb = docx(&paragraph(&"a".repeat(40 << 20)));
    assert!(bomb.len() < 1 << 20, "the bomb is small: {}", bomb.len());
    assert_eq!(reason(&bomb, "a.docx"), "DocumentInflatesTooMuch");
}

#[test]
fn an_archive_with_too_many_entries_is_not_opened() {
    let names: Vec<String> = (0..11_000).map(|number| format!("word/document{number}.bin")).collect();
    let parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(reason(&archive(&parts), "a.docx"), "DocumentMalformed");
}

#[test]
fn entries_that_point_outside_are_never_written() {
    let body = format!("<w:document><w:body>{}</w:body></w:document>", paragraph("safe"));
    let bytes = archive(&[("../../escape.txt", b"out"), ("word/document.xml", body.as_bytes())]);
    assert_eq!(read(&bytes, "a.docx").expect("parsed").text, "safe\n");
    assert!(!std::path::Path::new("../../escape.txt").exists());
}

#[test]
fn xml_that_declares_entities_is_refused() {
    let laughs = "<!DOCTYPE d [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><w:document><w:t>&b;</w:t></w:document>";
    assert_eq!(reason(&archive(&[("word/document.xml", laughs.as_bytes())]), "a.docx"), "DocumentMalformed");
    assert_eq!(reason(&docx("<w:p><w:t>&unknown;</w:t></w:p>"), "a.docx"), "DocumentMalformed");
    assert_eq!(reason(&docx("<w:p><w:t>not closed"), "a.docx"), "DocumentMalformed");
}

#[test]
fn text_beyond_its_limit_is_refused() {
    let limits = Limits { max_text_bytes: 1000, ..Limits::default() };
    let long = "word ".repeat(1000);
    let html = format!("<html><p>{long}</p></html>");
    for (bytes, name) in
        [(long.clone().into_bytes(), "a.txt"), (html.into_bytes(), "a.html"), (docx(&paragraph(&long)), "a.docx")]
    {
        let error = read_within(&bytes, name, &limits, &child()).expect_err(name);
        assert_eq!(error, ParseError::TextTooLarge { limit: 1000 }, "{name}");
    }
}

#[test]
fn a_parser_that_needs_too_much_memory_is_told_from_a_crash() {
    let html = format!("<html>{}</html>", "<p>a <b>bold</b> word</p>".repeat(400_000));
    let limits = Limits { memory_bytes: 64 << 20, ..Limits::default() };
    let read = read_within(html.as_bytes(), "a.html", &limits, &child()).map(|parsed| parsed.text.len());
    assert_eq!(read, Err(ParseError::OutOfMemory { limit: 64 << 20 }));
}

#[test]
fn a_parser_that_hangs_is_killed() {
    let limits = Limits { wall: Duration::from_millis(200), ..Limits::default() };
    let hangs = ChildCommand::new("/bin/sleep", &["600"]);
    let error = read_within(b"<html>", "a.html", &limits, &hangs).expect_err("hangs");
    assert_eq!(error.reason(), "ParserOutOfTime");
}

#[test]
fn the_ways_to_die_are_told_apart() {
    let dies = |script: &str| {
        let child = ChildCommand::new("/bin/sh", &["-c", script]);
        read_within(b"<html>", "a.html", &Limits::default(), &child).expect_err("dies")
    };
    assert_eq!(dies("kill -SEGV $$"), ParseError::Crashed { signal: Some(11) });
    assert_eq!(dies("kill -XCPU $$").reason(), "ParserOutOfTime");
    assert_eq!(dies("kill -KILL $$").reason(), "ParserOutOfMemory");
    assert_eq!(dies("echo garbage; exit 3"), ParseError::Crashed { signal: None });
    let missing = read_within(b"<html>", "a.html", &Limits::default(), &ChildCommand::new("/nonexistent", &[]));
    assert!(!missing.expect_err("missing").is_permanent());
}

#[test]
fn the_parser_process_may_write_no_file_and_has_bounds_on_memory_and_time() {
    let mut process =
        Command::new(child().program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("parser process");
    let header = br#"{"media_type":"Html","max_text_bytes":1000,"memory_bytes":1048576,"cpu_seconds":7}"#;
    let mut stdin = process.stdin.take().expect("stdin");
    stdin.write_all(&(header.len() as u32).to_le_bytes()).expect("length");
    stdin.write_all(header).expect("header");
    stdin.write_all(&10_u64.to_le_bytes()).expect("body length");
    let path = format!("/proc/{}/limits", process.id());
    let deadline = Instant::now() + Duration::from_secs(20);
    let limits = loop {
        let limits = std::fs::read_to_string(&path).expect("limits");
        if value(&limits, "Max open files") == "16" {
            break limits;
        }
        assert!(Instant::now() < deadline, "no limits were set:\n{limits}");
        std::thread::sleep(Duration::from_millis(10));
    };
    drop(stdin);
    process.wait().expect("ended");
    assert_eq!(value(&limits, "Max file size"), "0");
    assert_eq!(value(&limits, "Max core file size"), "0");
    assert_eq!(value(&limits, "Max cpu time"), "7");
    assert!(value(&limits, "Max address space").parse::<u64>().is_ok_and(|bytes| bytes < 8 << 30), "{limits}");
}

fn value(limits: &str, name: &str) -> String {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().unwrap_or_default().to_owned()
}
