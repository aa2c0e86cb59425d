//! Templates over a document and what its stages have made.
//!
//! A template computes: it is rendered on a thread that may block, so whoever waits for it can stop waiting (its stage's
//! time-out) and the others go on. The thread is done when the fuel is.

use std::{cell::RefCell, future, panic, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter};

/// Steps that one template may take; a template is written by a person, its data is not.
const FUEL: u64 = 5_000_000;

/// Stands in a frame for what was filled in; a template that holds it itself only has another frame.
const FILLED: char = '\u{fffc}';

thread_local! {
    /// What the template that is being rendered on this thread prints, where somebody wants to know.
    static PRINTED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Renders prompts, queries and values.
pub struct Templates {
    environment: Arc<Environment<'static>>,
}

impl Default for Templates {
    fn default() -> Self {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        // A misspelt name must not become an empty prompt.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.add_filter("head", head);
        environment.set_formatter(|out, state, value| {
            PRINTED.with_borrow_mut(|printed| {
                if let Some(printed) = printed {
                    printed.push(value.to_string());
                }
            });
            escape_formatter(out, state, value)
        });
        Self { environment: Arc::new(environment) }
    }
}

impl Templates {
    /// Renders a template.
    pub async fn render(&self, template: &str, context: &Value) -> Result<String, Error> {
        let (template, context) = (template.to_owned(), context.clone());
        self.compute(move |environment| environment.render_str(&template, context)).await
    }

    /// Renders a template and tells what of the text is the template's own and what was filled in.
    pub async fn render_parts(&self, template: &str, context: &Value) -> Result<Parts, Error> {
        let (template, context) = (template.to_owned(), context.clone());
        self.compute(move |environment| {
            PRINTED.set(Some(Vec::new()));
            let text = environment.render_str(&template, context);
            let printed = PRINTED.take().unwrap_or_default();
            Ok(parts(&text?, printed))
        })
        .await
    }

    /// Whether an expression (`when`) is true.
    pub async fn holds(&self, expression: &str, context: &Value) -> Result<bool, Error> {
        let (expression, context) = (expression.to_owned(), context.clone());
        self.compute(move |environment| {
            environment.compile_expression(&expression)?.eval(context).map(|value| value.is_true())
        })
        .await
    }

    /// The number that an expression gives; `None` where what it names is not there.
    pub async fn number(&self, expression: &str, context: &Value) -> Result<Option<f64>, Error> {
        let (expression, context) = (expression.to_owned(), context.clone());
        self.compute(move |environment| match environment.compile_expression(&expression)?.eval(context) {
            Ok(value) if value.is_undefined() || value.is_none() => Ok(None),
            Ok(value) => f64::try_from(value).map(Some),
            Err(error) if error.kind() == ErrorKind::UndefinedError => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Environment<'static>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let environment = Arc::clone(&self.environment);
        match tokio::task::spawn_blocking(move || work(&environment)).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panicked) => panic::resume_unwind(panicked),
                // The runtime is being shut down: what waits here is about to be dropped.
                Err(_) => future::pending().await,
            },
        }
    }

    /// Compiles a template without running it.
    pub fn check(&self, template: &str) -> Result<(), Error> {
        self.environment.template_from_str(template).map(drop)
    }

    /// Compiles an expression without running it.
    pub fn check_expression(&self, expression: &str) -> Result<(), Error> {
        self.environment.compile_expression(expression).map(drop)
    }
}

/// A rendered text in two parts. Together they are the whole: two texts of one frame differ in their fillings alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The template's own words, with a mark for each filling.
    pub frame: String,
    /// What was filled in, in its order.
    pub fillings: Vec<String>,
}

/// Finds what was printed in the text that came of it. What a template printed into a variable and changed before it wrote
/// it is not found: it stays in the frame.
fn parts(text: &str, printed: Vec<String>) -> Parts {
    let (mut frame, mut fillings, mut rest) = (String::new(), Vec::new(), text);
    for value in printed.into_iter().filter(|value| !value.is_empty()) {
        if let Some(place) = rest.find(&value) {
            frame.push_str(&rest[..place]);
            frame.push(FILLED);
            rest = &rest[place + value.len()..];
            fillings.push(value);
        }
    }
    frame.push_str(rest);
    Parts { frame, fillings }
}

/// `{{ text | head(400) }}`: the first so many characters, ended at a word's end.
fn head(text: &str, characters: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(characters) else { return text.to_owned() };
    let cut = &text[..end];
    let word_end = cut.rfind(char::is_whitespace).filter(|&space| space * 2 > end).unwrap_or(end);
    cut[..word_end].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;
    use minijinja::context;

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
            let whole =
                found.fillings.iter().fold(found.frame, |frame, filling| frame.replacen('\u{fffc}', filling, 1));
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
}
