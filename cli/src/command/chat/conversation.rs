//! What was said, and what of it is forgotten when it gets too long.

use serde_json::{Value, json};

/// A question and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) question: String,
    pub(super) answer: String,
}

impl Turn {
    fn chars(&self) -> usize {
        self.question.chars().count() + self.answer.chars().count()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Conversation {
    pub(super) system: Option<String>,
    pub(super) turns: Vec<Turn>,
}

impl Conversation {
    /// As the pipeline `chat` reads it, with a question that is not answered yet.
    pub(super) fn asking(&self, question: &str) -> Value {
        let mut messages = self.messages();
        messages.push(message("user", question));
        json!({ "messages": messages })
    }

    pub(super) fn messages(&self) -> Vec<Value> {
        let system = self.system.iter().map(|text| message("system", text));
        let turns = self.turns.iter();
        system
            .chain(
                turns.flat_map(|turn| [message("user", &turn.question), message("assistant", &turn.answer)]),
            )
            .collect()
    }

    /// Forgets the oldest turns until at most this share of the text is left, the question included. Gives how many turns.
    pub(super) fn forget_to(&mut self, share: f64, question: &str) -> usize {
        let fixed = self.system.as_deref().unwrap_or_default().chars().count() + question.chars().count();
        let mut chars = fixed + self.turns.iter().map(Turn::chars).sum::<usize>();
        let wanted = (chars as f64 * share) as usize;
        let mut forgotten = 0;
        while chars > wanted && forgotten < self.turns.len() {
            chars -= self.turns[forgotten].chars();
            forgotten += 1;
        }
        self.turns.drain(..forgotten);
        forgotten
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        let mut section = |who: &str, said: &str| text += &format!("## {who}\n\n{}\n\n", said.trim());
        if let Some(system) = &self.system {
            section("system", system);
        }
        for turn in &self.turns {
            section("user", &turn.question);
            section("assistant", &turn.answer);
        }
        text
    }
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn conversation() -> Conversation {
        let turn = |n: usize| Turn { question: format!("question {n}"), answer: format!("answer {n:>9}") };
        Conversation { system: Some("be brief".into()), turns: (0..4).map(turn).collect() }
    }

    #[test]
    fn a_question_comes_after_what_was_said() {
        let mut conversation = conversation();
        conversation.turns.truncate(1);
        expect![[r#"{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"question 0"},{"role":"assistant","content":"answer         0"},{"role":"user","content":"and?"}]}"#]]
            .assert_eq(&conversation.asking("and?").to_string());
    }

    #[test]
    fn the_oldest_turns_are_forgotten_first() {
        let mut conversation = conversation();
        assert_eq!(conversation.forget_to(1.0, "and?"), 0);
        assert_eq!(conversation.forget_to(0.6, "and?"), 2);
        assert_eq!(conversation.turns[0].question, "question 2");
        assert_eq!(conversation.forget_to(0.0, "and?"), 2);
        assert_eq!(conversation.forget_to(0.0, "and?"), 0);
    }
}
