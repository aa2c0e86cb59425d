//! Durations as people write them.

use std::time::Duration;

use crds::{SPAN_MAX_LENGTH, SPAN_PATTERN, Span, StageTimeout};
use regex::Regex;

const RIGHT: &[(&str, u64)] = &[
    ("0s", 0),
    ("250ms", 250_000_000),
    ("60s", 60_000_000_000),
    ("1.5s", 1_500_000_000),
    ("10m", 600_000_000_000),
    ("24h", 86_400_000_000_000),
    ("7d", 604_800_000_000_000),
    ("1h30m", 5_400_000_000_000),
    ("30m1h", 5_400_000_000_000),
    ("1m1ms", 60_001_000_000),
    ("1s1s", 2_000_000_000),
    ("0.000001ms", 1),
    ("0.000001d", 86_400_000),
    ("0.1s", 100_000_000),
    ("0.3ms", 300_000),
    ("007s", 7_000_000_000),
    ("999999999ms", 999_999_999_000_000),
];

const WRONG: &[&str] = &[
    "",
    " ",
    "5",
    "s",
    "5 s",
    " 5s",
    "5s ",
    "-5s",
    "+5s",
    "5S",
    "5sec",
    "5us",
    "1e3s",
    ".5s",
    "5.s",
    "1..5s",
    "1.5.5s",
    "1.1234567s",
    "1234567890s",
    "1h30",
    "h1",
    "٣s",
    "5ms5",
    "inf",
    "5m s",
    "1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1s1",
];

/// Pseudo-random numbers, the same in each run.
fn numbers() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

#[test]
fn right_texts_have_their_length() {
    for (text, nanos) in RIGHT {
        assert_eq!(text.parse::<Span>(), Ok(Span(Duration::from_nanos(*nanos))), "{text}");
    }
}

#[test]
fn wrong_texts_are_refused_and_quoted() {
    for text in WRONG {
        let error = text.parse::<Span>().expect_err(text);
        assert!(error.contains(&format!("\"{text}\" is not a duration")), "{error}");
    }
}

#[test]
fn pattern_and_parser_agree_on_every_text() {
    let pattern = Regex::new(SPAN_PATTERN).expect("the pattern is a regular expression");
    let alphabet: Vec<char> = "0159.msmhdsm5 -e".chars().collect();
    let mut numbers = numbers();
    let random = std::iter::repeat_with(|| {
        let length = numbers.next().unwrap_or_default() % 8;
        (0..length)
            .map(|_| alphabet[(numbers.next().unwrap_or_default() % alphabet.len() as u64) as usize])
            .collect::<String>()
    });
    let texts = RIGHT.iter().map(|(text, _)| (*text).to_owned()).chain(WRONG.iter().map(|text| (*text).to_owned()));
    let mut right = 0;
    for text in texts.chain(random.take(200_000)) {
        let matches = pattern.is_match(&text) && text.len() <= SPAN_MAX_LENGTH;
        assert_eq!(text.parse::<Span>().is_ok(), matches, "{text:?}");
        right += usize::from(matches);
    }
    assert!(right > 500, "only {right} texts are spans");
}

#[test]
fn what_is_written_reads_as_the_same_span() {
    let edges = [0, 1, 999_999, 1_000_000, 86_399_999_999_999, 86_400_000_000_000, 3_153_600_000_000_000_000];
    for (index, number) in edges.into_iter().chain(numbers().take(20_000)).enumerate() {
        // Lengths of all sizes, up to a hundred years.
        let nanos = (number >> (index % 60)) % 3_153_600_000_000_000_001;
        let span = Span(Duration::from_nanos(nanos));
        let text = span.to_string();
        assert!(text.len() <= SPAN_MAX_LENGTH, "{text}");
        assert_eq!(text.parse::<Span>(), Ok(span), "{text}");
    }
}

#[test]
fn spans_are_written_in_their_longest_unit() {
    for text in ["0ms", "250ms", "1500ms", "90s", "10m", "1h", "2d", "0.000001ms", "90m"] {
        assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(text.to_owned()));
    }
    assert_eq!("1.5s".parse::<Span>().map(|span| span.to_string()), Ok("1500ms".to_owned()));
    assert_eq!("20d0.5ms".parse::<Span>().map(|span| span.to_string()), Ok("20d0.5ms".to_owned()));
}

#[test]
fn no_span_is_longer_than_a_hundred_years() {
    let century = Span(Duration::from_secs(36_500 * 86_400));
    assert_eq!("36501d".parse(), Ok(century));
    assert_eq!("999999999d999999999d999999999d".parse(), Ok(century));
}

#[test]
fn a_stage_time_out_is_a_span_or_adaptive() {
    for text in ["Adaptive", "90s", "250ms"] {
        assert_eq!(text.parse::<StageTimeout>().map(|timeout| timeout.to_string()), Ok(text.to_owned()));
    }
    assert_eq!("Adaptive".parse(), Ok(StageTimeout::Adaptive));
    assert_eq!("1m".parse(), Ok(StageTimeout::Fixed(Span(Duration::from_secs(60)))));
    for text in WRONG.iter().chain(&["adaptive", "Adaptive1s", "1sAdaptive", "Adaptive "]) {
        let error = text.parse::<StageTimeout>().expect_err(text);
        assert!(error.contains(&format!("\"{text}\" is not a duration")) && error.contains("Adaptive"), "{error}");
    }
}
