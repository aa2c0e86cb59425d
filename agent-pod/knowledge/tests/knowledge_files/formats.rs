//! Every format gives its text, and what is found is found by content before name.

use knowledge::parse::{MediaType, ParseError};

use crate::fixtures::{archive, docx, paragraph, pdf_page};
use crate::read;

#[test]
fn plain_text_comes_back_as_it_is() {
    let parsed = read("Grüße\n\nzweiter Absatz\n".as_bytes(), "a.txt").expect("parsed");
    assert_eq!(parsed.text, "Grüße\n\nzweiter Absatz\n");
    assert_eq!(parsed.media_type, MediaType::Text);
    assert!(parsed.exact_offsets);
    assert!(parsed.warnings.is_empty());
}

#[test]
fn names_tell_texts_apart() {
    for (name, expected) in [
        ("LICENSE", MediaType::Text),
        ("README.md", MediaType::Markdown),
        ("lines.JSONL", MediaType::JsonLines),
        ("notes.txt", MediaType::Text),
    ] {
        assert_eq!(read(b"# a text", name).expect("parsed").media_type, expected, "{name}");
    }
}

#[test]
fn first_bytes_win_over_the_name() {
    assert_eq!(read(&pdf_page(&["Hello"], ""), "a.txt").expect("parsed").media_type, MediaType::Pdf);
    assert_eq!(read(&docx(&paragraph("Hello")), "a.pdf").expect("parsed").media_type, MediaType::Docx);
    assert_eq!(read(b"<!DOCTYPE HTML><p>Hello</p>", "a").expect("parsed").media_type, MediaType::Html);
}

#[test]
fn a_text_that_speaks_of_the_header_of_a_pdf_is_a_text() {
    let text = b"Every PDF begins with %PDF-1.7, whatever comes next.";
    assert_eq!(read(text, "note.md").expect("parsed").media_type, MediaType::Markdown);
    let page = b"<html><body><p>Every PDF begins with %PDF-1.7</p></body></html>";
    assert_eq!(read(page, "page.html").expect("parsed").media_type, MediaType::Html);
}

#[test]
fn a_pdf_may_begin_with_something_else() {
    let page = pdf_page(&["Hello"], "");
    for (start, name) in [(&b"Content-Type: x\n"[..], "a.pdf"), (&b"\0\n"[..], "a.txt")] {
        let refused = read(&[start, page.as_slice()].concat(), name).err().map(|error| error.to_string());
        let refused = refused.unwrap_or_default();
        assert!(!refused.contains("does not begin") && !refused.contains("neither text"), "{name}: {refused}");
    }
}

#[test]
fn a_byte_order_mark_keeps_offsets_exact() {
    let bytes = b"\xef\xbb\xbfHello world";
    let parsed = read(bytes, "a.txt").expect("parsed");
    assert!(parsed.exact_offsets);
    assert_eq!(parsed.text.as_bytes(), bytes);
}

#[test]
fn utf_16_is_decoded_without_exact_offsets() {
    for (mark, to_bytes) in [([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xfe, 0xff], u16::to_be_bytes)] {
        let mut bytes = mark.to_vec();
        bytes.extend("Grüße €".encode_utf16().flat_map(to_bytes));
        let parsed = read(&bytes, "a.txt").expect("parsed");
        assert_eq!(parsed.text, "Grüße €");
        assert!(!parsed.exact_offsets);
    }
}

#[test]
fn invalid_utf_8_keeps_every_offset_and_is_reported() {
    let parsed = read(b"Copyright \xa9 1998 M\xfcller, all rights reserved", "LICENSE").expect("parsed");
    assert_eq!(parsed.text, "Copyright ? 1998 M?ller, all rights reserved");
    assert!(parsed.exact_offsets);
    assert_eq!(parsed.warnings, ["2 bytes are not valid UTF-8 and were replaced by '?', the first at offset 10"]);
}

#[test]
fn html_becomes_markdown_without_scripts() {
    let html = b"<html><head><title>t</title><style>p{}</style></head><body><h1>Terms</h1><p>First &amp; last.</p>\
        <script>var x = '<p>no</p>';</script><ul><li>one</li><li>two</li></ul></body></html>";
    let parsed = read(html, "a.html").expect("parsed");
    assert!(parsed.text.contains("# Terms"), "{}", parsed.text);
    assert!(parsed.text.contains("First & last."), "{}", parsed.text);
    assert!(parsed.text.contains("one") && parsed.text.contains("two"));
    assert!(!parsed.text.contains("var x"));
    assert!(!parsed.exact_offsets);
}

#[test]
fn html_in_the_encoding_that_it_declares_is_decoded() {
    let html = b"<html><head><meta charset=\"windows-1252\"></head><body><p>caf\xe9 \x80 5</p></body></html>";
    assert!(read(html, "a.html").expect("parsed").text.contains("café € 5"));
}

#[test]
fn a_pdf_gives_the_lines_of_its_pages() {
    let parsed = read(&pdf_page(&["Permission is hereby granted", "free of charge"], ""), "a.pdf").expect("parsed");
    assert!(parsed.text.contains("Permission is hereby granted"), "{}", parsed.text);
    assert!(parsed.text.contains("free of charge"), "{}", parsed.text);
}

#[test]
fn a_pdf_without_text_may_be_scanned() {
    let error = read(&pdf_page(&[], ""), "scan.pdf").expect_err("no text");
    assert_eq!(error, ParseError::NoText);
    assert!(error.to_string().contains("scanned"));
}

#[test]
fn a_word_document_keeps_headings_lists_and_tables_as_lines() {
    let heading = "<w:p><w:pPr><w:pStyle w:val=\"Heading2\"/></w:pPr><w:r><w:t>Terms</w:t></w:r></w:p>";
    let item = |text: &str| {
        format!("<w:p><w:pPr><w:numPr><w:numId w:val=\"1\"/></w:numPr></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>")
    };
    let cell = |text: &str| format!("<w:tc>{}</w:tc>", paragraph(text));
    let table = format!(
        "<w:tbl><w:tr>{}{}</w:tr><w:tr>{}{}</w:tr></w:tbl>",
        cell("name"),
        cell("year"),
        cell(""),
        cell("1998")
    );
    let body = [
        heading.to_owned(),
        paragraph("First &amp; &#x6C;ast."),
        item("one"),
        item("two"),
        paragraph("After."),
        table,
        paragraph("End."),
    ]
    .concat();
    let parsed = read(&docx(&body), "a.docx").expect("parsed");
    assert_eq!(parsed.text, "## Terms\n\nFirst & last.\n\n- one\n- two\n\nAfter.\n\nname | year\n | 1998\n\nEnd.\n");
}

#[test]
fn notes_follow_the_text_and_deleted_text_and_fallbacks_do_not_count() {
    let body = "<w:p><w:r><w:t>kept</w:t></w:r><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del></w:p>\
        <mc:AlternateContent><mc:Choice><w:p><w:r><w:t>box</w:t></w:r></w:p></mc:Choice>\
        <mc:Fallback><w:p><w:r><w:t>box</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent>";
    let document = format!("<w:document><w:body>{body}</w:body></w:document>");
    let notes = format!("<w:footnotes><w:footnote>{}</w:footnote></w:footnotes>", paragraph("a note"));
    let bytes = archive(&[("word/document.xml", document.as_bytes()), ("word/footnotes.xml", notes.as_bytes())]);
    assert_eq!(read(&bytes, "a.docx").expect("parsed").text, "kept\n\nbox\n\na note\n");
}

#[test]
fn text_that_was_moved_stands_where_it_is_now() {
    let run = |text: &str| format!("<w:r><w:t>{text}</w:t></w:r>");
    let from = format!(
        "<w:p><w:pPr><w:rPr><w:moveFrom w:id=\"0\"/></w:rPr></w:pPr><w:moveFromRangeStart w:id=\"1\"/>\
         <w:moveFrom w:id=\"2\">{}</w:moveFrom><w:moveFromRangeEnd w:id=\"1\"/></w:p>",
        run("The moved clause.")
    );
    let to = format!("<w:p><w:moveTo w:id=\"3\">{}</w:moveTo></w:p>", run("The moved clause."));
    let body = [from, paragraph("The clause that stays."), to].concat();
    assert_eq!(read(&docx(&body), "a.docx").expect("parsed").text, "The clause that stays.\n\nThe moved clause.\n");
}

#[test]
fn a_text_box_stands_apart_from_the_paragraph_that_it_hangs_on() {
    let style = "<w:pPr><w:pStyle w:val=\"Heading1\"/></w:pPr>";
    let boxed = format!("<w:r><w:txbxContent><w:p>{style}<w:r><w:t>World</w:t></w:r></w:p></w:txbxContent></w:r>");
    let body = format!("<w:p><w:r><w:t>Hello</w:t></w:r>{boxed}<w:r><w:t>and more</w:t></w:r></w:p>");
    assert_eq!(read(&docx(&body), "a.docx").expect("parsed").text, "Hello\n\n# World\n\nand more\n");
    let table = format!("<w:tbl><w:tr><w:tc>{}</w:tc></w:tr></w:tbl>", paragraph("cell"));
    let body = format!("<w:p><w:r><w:t>Hello</w:t></w:r><w:r><w:txbxContent>{table}</w:txbxContent></w:r></w:p>");
    assert_eq!(read(&docx(&body), "a.docx").expect("parsed").text, "Hello\n\ncell\n");
}
