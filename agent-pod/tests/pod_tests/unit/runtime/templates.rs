//! What templates give, and that slow ones hold nobody up.

use std::{sync::mpsc, time::Duration};

use agent_pod::runtime::templates::{Templates, head};
use minijinja::{Value, context};

/// Longer than any machine makes a thread wait.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn head_ends_at_a_word() {
    assert_eq!(head("one two three", 9), "one two");
    assert_eq!(head("one", 9), "one");
    assert_eq!(head("äöü", 2), "äö");
}

#[tokio::test]
async fn a_text_is_told_apart_into_frame_and_fillings() {
    let templates = Templates::default();
    let context = context! { document => context! { text => "a lease of a house", kind => "lease" } };
    let cases = [
        ("Say what {{ document.text }} means.", "Say what \u{fffc} means.", vec!["a lease of a house"]),
        (
            "{% if document.kind == 'lease' %}Rent{% else %}Price{% endif %} of {{ document.text | head(7) }}?",
            "Rent of \u{fffc}?",
            vec!["a lease"],
        ),
        ("{{ document.kind }}, {{ document.kind }}", "\u{fffc}, \u{fffc}", vec!["lease", "lease"]),
        ("no filling, {{ '' }}at all", "no filling, at all", vec![]),
        // What is changed after it was printed is no filling: nobody can say where it is.
        ("{% set x %}{{ document.kind }}{% endset %}{{ x | upper }}", "\u{fffc}", vec!["LEASE"]),
    ];
    for (template, frame, fillings) in cases {
        let found = templates.render_parts(template, &context).await.expect("it renders");
        assert_eq!(
            (found.frame.as_str(), found.fillings.clone()),
            (frame, fillings.iter().map(ToString::to_string).collect()),
            "{template}"
        );
        let text = templates.render(template, &context).await.expect("it renders");
        let whole = found.fillings.iter().fold(found.frame, |frame, filling| frame.replacen('\u{fffc}', filling, 1));
        assert_eq!(whole, text, "nothing of the text is lost");
    }
}

#[tokio::test]
async fn a_misspelt_name_is_an_error() {
    let templates = Templates::default();
    let context = context! { document => context! { text => "x" } };
    assert!(templates.render("{{ documnt.text }}", &context).await.is_err());
}

#[tokio::test]
async fn an_expression_gives_a_number_or_nothing() {
    let templates = Templates::default();
    let context = context! { stages => context! { check => context! { score => 0.75, word => "high" } } };
    assert_eq!(templates.number("stages.check.score", &context).await.expect("a number"), Some(0.75));
    assert_eq!(templates.number("stages.check.nothing", &context).await.expect("nothing"), None);
    assert_eq!(templates.number("stages.skipped.score", &context).await.expect("nothing"), None);
    assert!(templates.number("stages.check.word", &context).await.is_err());
}

#[tokio::test]
async fn a_template_that_runs_too_long_is_stopped() {
    let loops = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    let error = Templates::default().render(loops, &context! {}).await.expect_err("its fuel is burnt");
    assert_eq!(error.kind(), minijinja::ErrorKind::OutOfFuel);
}

/// A runtime of one thread: what blocks it blocks its clock too.
#[tokio::test]
async fn a_slow_template_holds_up_neither_time_outs_nor_other_templates() {
    let templates = Templates::default();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let slow = Value::from_function(move || {
        let waited = released.lock().map(|released| released.recv_timeout(PATIENCE).is_ok());
        waited.unwrap_or(false)
    });
    let context = context! { slow };
    for in_time in [
        tokio::time::timeout(Duration::from_millis(1), templates.render("{{ slow() }}", &context)).await.is_ok(),
        tokio::time::timeout(Duration::from_millis(1), templates.holds("slow()", &context)).await.is_ok(),
    ] {
        assert!(!in_time, "the template was waited for");
    }
    assert_eq!(templates.render("{{ 1 + 1 }}", &context).await.expect("it is quick"), "2");
    release.send(()).expect("the first template waits");
}
