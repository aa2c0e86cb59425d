//! From a conversation to the prompt that the model was trained on, by the chat template in its file.
//!
//! A model without a template (a base model) gets the messages' contents joined by line breaks.

use minijinja::{Environment, ErrorKind, Value, context};

use crate::generation::vocabulary::Vocabulary;
use crate::generation::{ChatMessage, ChatRole, Error};
use crate::gguf::{self, Header};

/// Steps that a template may take: real ones need some dozens a message.
const FUEL: u64 = 1_000_000;
const NAME: &str = "chat";

pub(super) struct ChatTemplate {
    /// `None` for base models.
    environment: Option<Environment<'static>>,
}

impl ChatTemplate {
    pub(super) fn read(header: &Header) -> Result<Self, Error> {
        let source = gguf::optional(header.text("tokenizer.chat_template")).map_err(Error::Header)?;
        let environment = source.map(|source| compiled(source.to_owned())).transpose();
        Ok(Self { environment: environment.map_err(Error::CompileTemplate)? })
    }

    /// The prompt's tokens. Control tokens count where the template writes them, never where a message does. A prompt that is
    /// sure to have more than `context` of them is refused unread.
    pub(super) fn tokens(
        &self,
        messages: &[ChatMessage],
        vocabulary: &Vocabulary,
        context: usize,
    ) -> Result<Vec<u32>, Error> {
        let breaker = breaker(messages, vocabulary)?;
        let contents = messages.iter().map(|message| match breaker {
            Some(breaker) => vocabulary.broken_apart(&message.content, breaker),
            None => message.content.clone(),
        });
        let prompt = match &self.environment {
            None => contents.collect::<Vec<_>>().join("\n"),
            Some(environment) => {
                let messages: Vec<Value> = messages
                    .iter()
                    .zip(contents)
                    .map(|(message, content)| context! { role => role(message.role), content })
                    .collect();
                let values = context! {
                    messages,
                    add_generation_prompt => true,
                    bos_token => vocabulary.begin_text.as_str(),
                    eos_token => vocabulary.end_text.as_str(),
                };
                let template = environment.get_template(NAME).map_err(Error::CompileTemplate)?;
                template.render(values).map_err(Error::ApplyTemplate)?
            }
        };
        // Tokenizing takes about a hundred times a text's size of memory.
        let least = vocabulary.least_tokens(&prompt, breaker);
        if least > context {
            return Err(Error::PromptTooLong { least, context });
        }
        vocabulary.encode_prompt(&prompt, breaker)
    }
}

fn compiled(source: String) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    let syntax = environment.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |reason: String| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
    });
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

/// A character that no message holds, where one is needed: code points that Unicode keeps for internal use.
fn breaker(messages: &[ChatMessage], vocabulary: &Vocabulary) -> Result<Option<char>, Error> {
    if !messages.iter().any(|message| vocabulary.names_control(&message.content)) {
        return Ok(None);
    }
    let unused = ('\u{fdd0}'..='\u{fdef}')
        .find(|&candidate| !messages.iter().any(|message| message.content.contains(candidate)));
    unused.map(Some).ok_or(Error::Request("the messages hold control tokens and every noncharacter beside them"))
}

fn role(role: ChatRole) -> &'static str {
    match role {
        ChatRole::System => "system",
        ChatRole::User => "user",
        ChatRole::Assistant => "assistant",
    }
}
