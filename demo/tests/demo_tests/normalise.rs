//! What counts as a copy.

use docket_demo_corpus::{
    normalise::normalise,
    similarity::{NEAR_COPY, Shingles},
};

const GRANT: &str = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software";

#[track_caller]
fn same(one: &str, other: &str) {
    assert_eq!(normalise(one), normalise(other));
}

#[test]
fn holders_years_case_and_layout_do_not_matter() {
    let one = format!("The MIT License (MIT)\n\nCopyright (c) 2015 One Holder\n\n{GRANT}\n");
    same(&one, &format!("The MIT License (MIT)\r\nCOPYRIGHT © 1999-2024 Another, Inc.\r\n{GRANT}"));
    same(&one, &format!("the mit license\n(mit)\nCopyright The Authors\n{}", GRANT.replace(", ", ",\n   ")));
    same(&one, &format!("The MIT License (MIT)\n(c) 2020 Third\nAll rights reserved.\n{GRANT}"));
}

#[test]
fn a_line_of_the_licence_that_begins_with_copyright_stays() {
    for line in
        ["copyright license to reproduce, prepare Derivative Works of,", "copyright notice and this permission notice"]
    {
        assert!(normalise(line).starts_with("copyright"), "{line}");
    }
}

#[test]
fn another_wording_is_another_text() {
    assert_ne!(normalise(GRANT), normalise(&GRANT.replace("free of charge", "for a fee")));
}

#[test]
fn similarity_runs_from_nothing_in_common_to_the_same() {
    let text = normalise(GRANT);
    let grown = format!("mit license {text}");
    assert!((Shingles::of(&text).similarity(&Shingles::of(&text)) - 1.0).abs() < f64::EPSILON);
    assert!(Shingles::of(&text).similarity(&Shingles::of("redistribution and use in source and binary forms")) < 0.01);
    assert!(Shingles::of(&text).similarity(&Shingles::of(&grown)) >= NEAR_COPY);
}

#[test]
fn a_text_of_a_few_words_equals_only_itself() {
    let few = Shingles::of("all rights reserved");
    assert!(few.similarity(&Shingles::of("all rights reserved")) > 0.99);
    assert!(few.similarity(&Shingles::of("no rights reserved")) < 0.01);
}
