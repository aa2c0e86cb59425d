//! Where a generation's text and end go: back to the future that awaits them.

use tokio::sync::{mpsc, oneshot};

use crate::generation::{self, Generated, Reply};

pub(crate) struct GenerationReply {
    pub(crate) answer: oneshot::Sender<Result<Generated, generation::Error>>,
    pub(crate) tokens: Option<mpsc::UnboundedSender<String>>,
}

impl Reply for GenerationReply {
    fn on_token(&mut self, piece: &str) {
        // Losing sight of the text never loses the answer.
        if self.tokens.as_ref().is_some_and(|tokens| tokens.send(piece.to_owned()).is_err()) {
            self.tokens = None;
        }
    }

    fn finished(self: Box<Self>, answer: Result<Generated, generation::Error>) {
        // A caller that has gone needs no answer.
        let _ = self.answer.send(answer);
    }

    fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }
}
