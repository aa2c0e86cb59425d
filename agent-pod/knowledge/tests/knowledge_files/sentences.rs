//! Sentences as people read them, also in wrapped licences.

use knowledge::sentences;

fn check(text: &str, expected: &[&str]) {
    let found: Vec<&str> = sentences(text).into_iter().map(|(start, end)| &text[start..end]).collect();
    assert_eq!(found, expected);
}

#[test]
fn wrapped_lines_belong_to_one_sentence() {
    check(
        "Permission is hereby granted, free of charge, to any\nperson. The above notice\nshall be included.",
        &["Permission is hereby granted, free of charge, to any\nperson.", "The above notice\nshall be included."],
    );
}

#[test]
fn blank_lines_list_items_and_headings_end_sentences() {
    check(
        "# Terms\nYou may:\n- copy it\n- sell\n  it\n1. Give credit.\n(b) Keep this.\n\nNo warranty",
        &["# Terms", "You may:", "- copy it", "- sell\n  it", "1. Give credit.", "(b) Keep this.", "No warranty"],
    );
}

#[test]
fn abbreviations_initials_and_numbers_do_not_end_sentences() {
    check(
        "Copyright by Foo Inc. and Dr. J. Smith, e.g. in No. 5 of version 2.0 of it. Next one.",
        &["Copyright by Foo Inc. and Dr. J. Smith, e.g. in No. 5 of version 2.0 of it.", "Next one."],
    );
}

#[test]
fn quotes_and_other_terminators_close_their_sentence() {
    check("He said \"stop!\" She did. Why? No.", &["He said \"stop!\"", "She did.", "Why?", "No."]);
    check("これは文です。次の文です。", &["これは文です。", "次の文です。"]);
    check("ﾃｽﾄﾃﾞｽ｡ﾂｷﾞﾃﾞｽ｡", &["ﾃｽﾄﾃﾞｽ｡", "ﾂｷﾞﾃﾞｽ｡"]);
    check("यह एक वाक्य है। यह दूसरा है॥ अंत", &["यह एक वाक्य है।", "यह दूसरा है॥", "अंत"]);
    check("ما هذا؟ هذا كتاب.", &["ما هذا؟", "هذا كتاب."]);
    check("یہ ایک جملہ ہے۔ یہ دوسرا ہے۔", &["یہ ایک جملہ ہے۔", "یہ دوسرا ہے۔"]);
}

#[test]
fn nothing_comes_of_nothing() {
    check("", &[]);
    check(" \n\n\t ", &[]);
    check("\u{feff}One.", &["One."]);
}
