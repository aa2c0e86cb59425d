//! Rows as PostgreSQL's COPY reads them.

use agent_pod::results::{postgres::copy::line, row::Row};

#[test]
fn a_text_stays_one_field_of_one_line() {
    let mut text = String::new();
    let row = Row { document: "a\tb\\N\r\nc".to_owned(), outcome: "succeeded", ..Row::default() };
    line(&mut text, &row);
    assert_eq!(text.matches('\n').count(), 1);
    assert_eq!(text.split('\t').count(), 23);
    assert_eq!(text.split('\t').nth(3), Some("a\\tb\\\\N\\r\\nc"));
}
