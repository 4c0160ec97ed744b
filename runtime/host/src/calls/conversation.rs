//! The messages of a context, and which of its lengths they can go back to.

use dunlin_engine_handle::{Message, Role, ToolDef};

/// Messages, and the assistant's answer to the last cue as far as it has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conversation {
    messages: Vec<Message>,
    tools: Vec<ToolDef>,
    /// `None`: the last messages came without a cue.
    answer: Option<String>,
    marks: Vec<Mark>,
}

/// What the conversation was when its context had this many tokens.
#[derive(Debug, Clone)]
struct Mark {
    tokens: usize,
    messages: usize,
    /// Length of the answer in bytes.
    answer: Option<usize>,
}

/// A conversation as it would be with some more messages: to be rendered, then adopted.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<ToolDef>,
    pub(crate) cue: bool,
}

impl Conversation {
    pub(crate) fn draft(&self, more: Vec<Message>, tools: Vec<ToolDef>, cue: bool) -> Draft {
        let answer = self.answer.as_deref().filter(|answer| !answer.is_empty()).map(assistant);
        Draft {
            messages: self.messages.iter().cloned().chain(answer).chain(more).collect(),
            tools: if tools.is_empty() { self.tools.clone() } else { tools },
            cue,
        }
    }

    /// The draft was rendered as `tokens` tokens, of which the first `kept` are as before.
    pub(crate) fn adopt(&mut self, draft: Draft, kept: usize, tokens: usize) {
        self.messages = draft.messages;
        self.tools = draft.tools;
        self.answer = draft.cue.then(String::new);
        self.marks.retain(|mark| mark.tokens <= kept);
        self.mark(tokens);
    }

    pub(crate) fn is_cued(&self) -> bool {
        self.answer.is_some()
    }

    /// Text joined the answer, and with it the context has `tokens` tokens.
    pub(crate) fn answer(&mut self, text: &str, tokens: usize) {
        if let Some(answer) = &mut self.answer {
            answer.push_str(text);
        }
        self.mark(tokens);
    }

    /// Goes back to where the context had `tokens` tokens; false if it is not a length that can be gone back
    /// to.
    pub(crate) fn truncate(&mut self, tokens: usize) -> bool {
        let Some(index) = self.marks.iter().rposition(|mark| mark.tokens == tokens) else { return false };
        let mark = self.marks[index].clone();
        self.marks.truncate(index + 1);
        // An answer that has become a message since is the message after those that were there.
        let text = match self.messages.get(mark.messages) {
            Some(message) => Some(&message.content),
            None => self.answer.as_ref(),
        };
        self.answer = mark.answer.map(|length| match text {
            Some(text) if length > 0 => text[..length].to_owned(),
            _ => String::new(),
        });
        self.messages.truncate(mark.messages);
        true
    }

    /// The longest length up to `tokens` that can be gone back to.
    pub(crate) fn nearest_mark(&self, tokens: usize) -> usize {
        self.marks.iter().map(|mark| mark.tokens).filter(|&mark| mark <= tokens).max().unwrap_or(0)
    }

    fn mark(&mut self, tokens: usize) {
        let answer = self.answer.as_ref().map(String::len);
        self.marks.push(Mark { tokens, messages: self.messages.len(), answer });
    }
}

fn assistant(content: &str) -> Message {
    Message { role: Role::Assistant, content: content.to_owned(), tool_calls: Vec::new(), tool_call_id: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(content: &str) -> Message {
        Message { role: Role::User, ..assistant(content) }
    }

    fn begin(messages: &[&str], cue: bool, tokens: usize) -> Conversation {
        let mut conversation = Conversation::default();
        let more = messages.iter().map(|content| user(content)).collect();
        let draft = conversation.draft(more, Vec::new(), cue);
        conversation.adopt(draft, 0, tokens);
        conversation
    }

    fn contents(conversation: &Conversation) -> Vec<String> {
        let draft = conversation.draft(Vec::new(), Vec::new(), false);
        draft.messages.into_iter().map(|message| message.content).collect()
    }

    #[test]
    fn an_answer_becomes_a_message_when_more_follow() {
        let mut conversation = begin(&["hi"], true, 10);
        conversation.answer("hel", 12);
        conversation.answer("lo", 13);
        let draft = conversation.draft(vec![user("bye")], Vec::new(), true);
        let spoken: Vec<_> = draft.messages.iter().map(|m| (m.role, m.content.as_str())).collect();
        assert_eq!(spoken, [(Role::User, "hi"), (Role::Assistant, "hello"), (Role::User, "bye")]);
    }

    #[test]
    fn a_cue_without_an_answer_leaves_nothing() {
        let conversation = begin(&["hi"], true, 10);
        assert_eq!(contents(&conversation), ["hi"]);
    }

    #[test]
    fn an_answer_can_be_cut_where_a_piece_of_it_ended() {
        let mut conversation = begin(&["hi"], true, 10);
        conversation.answer("hel", 12);
        conversation.answer("lo", 14);
        assert!(!conversation.truncate(13));
        assert_eq!(conversation.nearest_mark(13), 12);
        assert!(conversation.truncate(12));
        assert_eq!(contents(&conversation), ["hi", "hel"]);
        assert!(conversation.truncate(10));
        assert!(conversation.is_cued());
        assert_eq!(contents(&conversation), ["hi"]);
        assert!(!conversation.truncate(14), "what was cut is gone");
    }

    #[test]
    fn an_answer_that_became_a_message_can_be_taken_back() {
        let mut conversation = begin(&["hi"], true, 10);
        conversation.answer("hello", 15);
        let draft = conversation.draft(vec![user("bye")], Vec::new(), false);
        conversation.adopt(draft, 15, 22);
        assert!(!conversation.is_cued());
        assert!(conversation.truncate(15));
        assert_eq!(contents(&conversation), ["hi", "hello"]);
        assert!(conversation.is_cued());
    }

    #[test]
    fn lengths_past_the_first_difference_are_forgotten() {
        let mut conversation = begin(&["hi"], true, 10);
        conversation.answer("hello", 15);
        let draft = conversation.draft(vec![user("bye")], Vec::new(), false);
        conversation.adopt(draft, 12, 22);
        assert!(!conversation.truncate(15));
        assert!(conversation.truncate(10));
        assert_eq!(contents(&conversation), ["hi"]);
    }

    #[test]
    fn tools_stay_until_others_are_given() {
        let tool = |name: &str| ToolDef {
            name: name.into(),
            description: String::new(),
            parameters_schema: "{}".into(),
        };
        let mut conversation = Conversation::default();
        let draft = conversation.draft(vec![user("hi")], vec![tool("a")], true);
        conversation.adopt(draft, 0, 10);
        assert_eq!(conversation.draft(Vec::new(), Vec::new(), true).tools, [tool("a")]);
        assert_eq!(conversation.draft(Vec::new(), vec![tool("b")], true).tools, [tool("b")]);
    }
}
