//! The tokens of one context, and what may be done with them next.

use dunlin_engine_handle::{Message, Token, ToolDef};

use crate::{
    bindings::dunlin::llm::types::Error,
    calls::{
        cells::Cells,
        conversation::{Conversation, Draft},
    },
    invoke::{failure::invalid, seed::Seed},
};

#[derive(Debug)]
pub(crate) struct Sequence {
    tokens: Vec<Token>,
    cells: Cells,
    conversation: Option<Conversation>,
    /// Leading tokens that the manifest calls public.
    public: usize,
    /// Tokens that a prompt may have.
    possible: usize,
    seed: Seed,
    forks: u32,
    generations: u32,
    live: bool,
}

impl Sequence {
    pub(crate) fn new(cells: Cells, context_length: u32, seed: Seed) -> Self {
        Self {
            tokens: Vec::new(),
            cells,
            conversation: None,
            public: 0,
            // One token more must fit.
            possible: context_length.saturating_sub(1) as usize,
            seed,
            forks: 0,
            generations: 0,
            live: false,
        }
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    pub(crate) fn public(&self) -> u32 {
        self.public.min(self.tokens.len()) as u32
    }

    /// What was appended first begins with these tokens, which are no secret.
    pub(crate) fn publish(&mut self, prefix: &[Token]) {
        self.public = self.tokens.iter().zip(prefix).take_while(|(held, public)| held == public).count();
    }

    /// What the next text needs: the start of a sequence, or not.
    pub(crate) fn before_text(&self) -> Result<Start, Error> {
        self.idle()?;
        match &self.conversation {
            Some(conversation) if !conversation.is_cued() => Err(invalid(
                "text in a conversation is the beginning of the assistant's answer: append messages with a cue first",
            )),
            None if self.tokens.is_empty() => Ok(Start::Begins),
            Some(_) | None => Ok(Start::Goes),
        }
    }

    pub(crate) fn append_text(&mut self, text: &str, tokens: &[Token]) -> Result<u32, Error> {
        let added = self.extend(tokens)?;
        if let Some(conversation) = &mut self.conversation {
            conversation.answer(text, self.tokens.len());
        }
        Ok(added)
    }

    pub(crate) fn append_tokens(&mut self, tokens: &[Token]) -> Result<u32, Error> {
        self.idle()?;
        if self.conversation.is_some() {
            return Err(invalid("a conversation takes messages and text; tokens go to raw contexts"));
        }
        self.extend(tokens)
    }

    /// The conversation as it would be with more messages.
    pub(crate) fn draft(
        &self,
        messages: Vec<Message>,
        tools: Vec<ToolDef>,
        cue: bool,
    ) -> Result<Draft, Error> {
        self.idle()?;
        match &self.conversation {
            Some(conversation) => Ok(conversation.draft(messages, tools, cue)),
            None if self.tokens.is_empty() => Ok(Conversation::default().draft(messages, tools, cue)),
            None => Err(invalid(format!(
                "a conversation begins in an empty context, and this one holds {} tokens of text",
                self.tokens.len()
            ))),
        }
    }

    /// Takes over the draft, which the template rendered as these tokens.
    pub(crate) fn adopt(&mut self, draft: Draft, tokens: Vec<Token>) -> Result<u32, Error> {
        self.room(tokens.len())?;
        let kept = self.tokens.iter().zip(&tokens).take_while(|(held, new)| held == new).count();
        self.cells.replace(kept, tokens.len())?;
        self.tokens = tokens;
        self.public = self.public.min(kept);
        self.conversation.get_or_insert_default().adopt(draft, kept, self.tokens.len());
        Ok((self.tokens.len() - kept) as u32)
    }

    /// What a generation delivered joins.
    pub(crate) fn join(&mut self, text: &str, tokens: &[Token]) -> Result<(), Error> {
        self.cells.grow(tokens.len())?;
        self.tokens.extend_from_slice(tokens);
        if let Some(conversation) = &mut self.conversation {
            conversation.answer(text, self.tokens.len());
        }
        Ok(())
    }

    pub(crate) fn truncate(&mut self, to: u32) -> Result<(), Error> {
        self.idle()?;
        let to = to as usize;
        if to > self.tokens.len() {
            return Err(invalid(format!("cannot truncate {} tokens to {to}", self.tokens.len())));
        }
        if to == 0 {
            self.conversation = None;
        } else if let Some(conversation) = &mut self.conversation
            && !conversation.truncate(to)
        {
            let nearest = conversation.nearest_mark(to);
            return Err(invalid(format!(
                "nothing in this conversation ended at {to} tokens; the nearest length before is {nearest}"
            )));
        }
        self.tokens.truncate(to);
        self.public = self.public.min(to);
        self.cells.truncate(to);
        Ok(())
    }

    pub(crate) fn fork(&mut self) -> Result<Self, Error> {
        self.idle()?;
        let seed = self.seed.context(self.forks);
        self.forks += 1;
        Ok(Self {
            tokens: self.tokens.clone(),
            cells: self.cells.fork()?,
            conversation: self.conversation.clone(),
            public: self.public,
            possible: self.possible,
            seed,
            forks: 0,
            generations: 0,
            live: false,
        })
    }

    /// A generation may start; gives the seed it has unless it brings its own.
    pub(crate) fn begin_generation(&mut self) -> Result<u64, Error> {
        self.idle()?;
        if self.conversation.as_ref().is_some_and(|conversation| !conversation.is_cued()) {
            return Err(invalid(
                "the conversation does not end with a cue: append its last messages with one",
            ));
        }
        let seed = self.seed.generation(self.generations);
        self.generations += 1;
        self.live = true;
        Ok(seed)
    }

    pub(crate) fn end_generation(&mut self) {
        self.live = false;
    }

    pub(crate) fn idle(&self) -> Result<(), Error> {
        if self.live { Err(Error::Busy(None)) } else { Ok(()) }
    }

    fn extend(&mut self, tokens: &[Token]) -> Result<u32, Error> {
        self.room(self.tokens.len() + tokens.len())?;
        self.cells.grow(tokens.len())?;
        self.tokens.extend_from_slice(tokens);
        Ok(tokens.len() as u32)
    }

    fn room(&self, length: usize) -> Result<(), Error> {
        if length > self.possible {
            return Err(Error::PromptTooLong((length as u32, self.possible as u32)));
        }
        Ok(())
    }
}

/// Whether text is the first of its context, and brings the BOS with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Begins,
    Goes,
}

#[cfg(test)]
mod tests {
    use dunlin_engine_handle::Role;

    use super::*;
    use crate::{Budget, calls::cells::CellMeters, invoke::budget::Meter};

    fn sequence() -> Sequence {
        let meter = |limit| Meter::new(Budget::KvCells, limit);
        let meters = CellMeters { cells: meter(50), copies: meter(1_000) };
        Sequence::new(Cells::new(meters).unwrap(), 41, Seed::of_invocation(0))
    }

    fn hello() -> Vec<Message> {
        vec![Message {
            role: Role::User,
            content: "hello".into(),
            tool_calls: Vec::new(),
            tool_call_id: None,
        }]
    }

    #[track_caller]
    fn refuses<T: std::fmt::Debug>(result: Result<T, Error>, why: &str) {
        let error = format!("{:?}", result.unwrap_err());
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn an_append_that_does_not_fit_changes_nothing() {
        let mut sequence = sequence();
        sequence.append_tokens(&[1; 30]).unwrap();
        refuses(sequence.append_tokens(&[1; 11]), "PromptTooLong((41, 40))");
        assert_eq!(sequence.append_tokens(&[1; 10]).unwrap(), 10);
        refuses(sequence.fork().unwrap().append_tokens(&[1]), "PromptTooLong");
    }

    #[test]
    fn raw_contexts_and_conversations_do_not_mix() {
        let mut raw = sequence();
        assert_eq!(raw.before_text().unwrap(), Start::Begins);
        raw.append_text("a", &[256, 97]).unwrap();
        assert_eq!(raw.before_text().unwrap(), Start::Goes);
        refuses(raw.draft(hello(), Vec::new(), true), "begins in an empty context");

        let mut spoken = sequence();
        let draft = spoken.draft(hello(), Vec::new(), false).unwrap();
        assert_eq!(spoken.adopt(draft, vec![256, 1, 2, 3]).unwrap(), 4);
        refuses(spoken.before_text(), "cue first");
        refuses(spoken.append_tokens(&[1]), "raw contexts");
        refuses(spoken.begin_generation(), "does not end with a cue");
        spoken.truncate(0).unwrap();
        assert_eq!(spoken.before_text().unwrap(), Start::Begins);
    }

    #[test]
    fn rendering_again_keeps_what_is_the_same() {
        let mut sequence = sequence();
        let draft = sequence.draft(hello(), Vec::new(), true).unwrap();
        sequence.adopt(draft, vec![1, 2, 3, 4]).unwrap();
        sequence.begin_generation().unwrap();
        sequence.join("yes", &[5, 6]).unwrap();
        refuses(sequence.truncate(4), "Busy");
        sequence.end_generation();
        let draft = sequence.draft(hello(), Vec::new(), true).unwrap();
        assert_eq!(draft.messages.len(), 3);
        assert_eq!(sequence.adopt(draft, vec![1, 2, 3, 4, 5, 7, 8]).unwrap(), 2);
        refuses(sequence.truncate(6), "the nearest length before is 4");
        sequence.truncate(4).unwrap();
        assert_eq!(sequence.tokens(), [1, 2, 3, 4]);
    }

    #[test]
    fn forks_and_generations_have_seeds_of_their_own() {
        let mut sequence = sequence();
        let mut seeds = Vec::new();
        for _ in 0..2 {
            seeds.push(sequence.begin_generation().unwrap());
            sequence.end_generation();
            seeds.push(sequence.fork().unwrap().begin_generation().unwrap());
        }
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 4);
    }
}
