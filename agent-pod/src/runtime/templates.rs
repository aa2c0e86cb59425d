//! Templates over a document and what its stages have made.

use minijinja::{Environment, Error, UndefinedBehavior, Value};

/// Steps that one template may take; a template is written by a person, its data is not.
const FUEL: u64 = 5_000_000;

/// Renders prompts, queries and values.
pub struct Templates {
    environment: Environment<'static>,
}

impl Default for Templates {
    fn default() -> Self {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        // A misspelt name must not become an empty prompt.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.add_filter("head", head);
        Self { environment }
    }
}

impl Templates {
    /// Renders a template.
    pub fn render(&self, template: &str, context: &Value) -> Result<String, Error> {
        self.environment.render_str(template, context)
    }

    /// Whether an expression (`when`) is true.
    pub fn holds(&self, expression: &str, context: &Value) -> Result<bool, Error> {
        self.environment.compile_expression(expression)?.eval(context).map(|value| value.is_true())
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

/// `{{ text | head(400) }}`: the first so many characters, ended at a word's end.
fn head(text: &str, characters: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(characters) else { return text.to_owned() };
    let cut = &text[..end];
    let word_end = cut.rfind(char::is_whitespace).filter(|&space| space * 2 > end).unwrap_or(end);
    cut[..word_end].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn head_ends_at_a_word() {
        assert_eq!(head("one two three", 9), "one two");
        assert_eq!(head("one", 9), "one");
        assert_eq!(head("äöü", 2), "äö");
    }

    #[test]
    fn a_misspelt_name_is_an_error() {
        let templates = Templates::default();
        let error = templates.render("{{ documnt.text }}", &context! { document => context! { text => "x" } });
        assert!(error.is_err());
    }

    #[test]
    fn a_template_that_runs_too_long_is_stopped() {
        let loops = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        assert!(Templates::default().render(loops, &context! {}).is_err());
    }
}
