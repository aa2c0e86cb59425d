//! Templates over a document and what its stages have made.
//!
//! A template computes: it is rendered on a thread that may block, so whoever waits for it can stop waiting (its stage's
//! time-out) and the others go on. The thread is done when the fuel is.

use std::{cell::RefCell, sync::Arc};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter};

use super::computing::compute;

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
        compute(move || work(&environment)).await
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
pub fn head(text: &str, characters: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(characters) else { return text.to_owned() };
    let cut = &text[..end];
    let word_end = cut.rfind(char::is_whitespace).filter(|&space| space * 2 > end).unwrap_or(end);
    cut[..word_end].trim_end().to_owned()
}
