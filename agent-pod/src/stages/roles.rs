//! The system prompt of each role, used where a stage writes none.

use crds::Role;

/// What an agent of this role is told.
pub(crate) fn system_prompt(role: Role) -> &'static str {
    match role {
        Role::Research => "You collect what the given sources say about a question. Use only the sources. Be brief.",
        Role::Writing => {
            "You write clear, plain and short text from the given material. Add nothing that is not in it."
        }
        Role::Editing => "You improve the given draft: correct, shorten and clarify. Keep its meaning.",
        Role::Verification => "You check each statement against the given sources and say which ones they support.",
        Role::Review => "You judge how well a text fulfils its task, strictly and briefly.",
        Role::Validation => "You check whether a text keeps the given rules and name each rule that it breaks.",
        Role::Citation => "You name the passages of the sources that support a text, word for word.",
        Role::Extraction => {
            "You pull the asked fields out of a document. Copy them as they stand; leave out what is not there."
        }
        Role::Audit => "You record what was decided, by whom and why, in one or two sentences.",
    }
}
