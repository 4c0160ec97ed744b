//! Votes, and when they are enough.

use serde_json::{Value, json};

/// The votes cast so far.
#[derive(Debug)]
pub(crate) struct Tally {
    voters: usize,
    abstained: usize,
    answers: Vec<Answer>,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// As the first of its voters, by number, spelled it.
    pub(crate) text: String,
    key: String,
    voters: Vec<usize>,
}

impl Answer {
    pub(crate) fn votes(&self) -> usize {
        self.voters.len()
    }

    fn first(&self) -> usize {
        self.voters.iter().copied().min().unwrap_or(usize::MAX)
    }
}

impl Tally {
    pub(crate) fn new(voters: usize) -> Self {
        Self { voters, abstained: 0, answers: Vec::new() }
    }

    /// An answer without a letter is no answer.
    pub(crate) fn vote(&mut self, voter: usize, text: &str) {
        let key = normal(text);
        if key.is_empty() {
            return self.abstain();
        }
        let text = text.trim();
        match self.answers.iter_mut().find(|answer| answer.key == key) {
            Some(answer) => {
                if voter < answer.first() {
                    answer.text = text.to_owned();
                }
                answer.voters.push(voter);
            }
            None => self.answers.push(Answer { text: text.to_owned(), key, voters: vec![voter] }),
        }
    }

    pub(crate) fn abstain(&mut self) {
        self.abstained += 1;
    }

    pub(crate) fn cast(&self) -> usize {
        self.answers.iter().map(Answer::votes).sum()
    }

    /// Those who voted or abstained.
    pub(crate) fn heard(&self) -> usize {
        self.cast() + self.abstained
    }

    /// Nobody can catch up with the winner any more.
    pub(crate) fn is_decided(&self) -> bool {
        let open = self.voters - self.heard();
        let ranked = self.ranked();
        let votes = |place: usize| ranked.get(place).map_or(0, |answer| answer.votes());
        open == 0 || votes(0) > votes(1) + open
    }

    /// Who has the most votes; of equals, the one whose first voter comes first.
    pub(crate) fn winner(&self) -> Option<&Answer> {
        self.ranked().first().copied()
    }

    pub(crate) fn json(&self, winner: &Answer) -> String {
        let count = |answer: &&Answer| json!({ "answer": answer.text, "votes": answer.votes() });
        let counts: Vec<Value> = self.ranked().iter().map(count).collect();
        json!({
            "answer": winner.text,
            "votes": winner.votes(),
            "cast": self.cast(),
            "unfinished": self.abstained,
            "cancelled": self.voters - self.heard(),
            "counts": counts,
        })
        .to_string()
    }

    fn ranked(&self) -> Vec<&Answer> {
        let mut ranked: Vec<&Answer> = self.answers.iter().collect();
        ranked.sort_unstable_by_key(|answer| (usize::MAX - answer.votes(), answer.first()));
        ranked
    }
}

/// What two answers have in common if they say the same: letter case, white space and the full stop do not matter.
fn normal(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ").trim_end_matches(['.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(voters: usize, votes: &[(usize, &str)]) -> Tally {
        let mut tally = Tally::new(voters);
        votes.iter().for_each(|(voter, text)| tally.vote(*voter, text));
        tally
    }

    #[test]
    fn answers_that_say_the_same_are_one() {
        let tally = tally(4, &[(2, "yes."), (0, " Yes \n"), (1, "yes,  sir"), (3, "YES")]);
        let winner = tally.winner().unwrap();
        assert_eq!((winner.text.as_str(), winner.votes()), ("Yes", 3));
    }

    #[test]
    fn it_is_decided_when_nobody_can_catch_up() {
        assert!(!tally(5, &[]).is_decided());
        assert!(!tally(5, &[(0, "a"), (1, "a")]).is_decided());
        assert!(tally(5, &[(0, "a"), (1, "a"), (2, "a")]).is_decided());
        assert!(!tally(5, &[(0, "a"), (1, "a"), (2, "b")]).is_decided());
        assert!(!tally(4, &[(0, "a"), (1, "a")]).is_decided(), "it may end two to two");
        assert!(tally(1, &[(0, "a")]).is_decided());
        let mut some = tally(4, &[(0, "a"), (1, "a")]);
        some.abstain();
        assert!(some.is_decided());
    }

    #[test]
    fn of_equals_the_first_voter_decides_whenever_it_came() {
        assert_eq!(tally(4, &[(3, "b"), (1, "b"), (2, "a"), (0, "a")]).winner().unwrap().text, "a");
    }

    #[test]
    fn nobody_wins_without_votes() {
        let mut none = tally(2, &[(0, " . ")]);
        none.abstain();
        assert!(none.is_decided() && none.winner().is_none());
    }

    #[test]
    fn json_has_the_counts() {
        let mut tally = tally(5, &[(0, "b"), (1, "a"), (2, "a")]);
        tally.abstain();
        assert_eq!(
            tally.json(tally.winner().unwrap()),
            r#"{"answer":"a","votes":2,"cast":3,"unfinished":1,"cancelled":1,"counts":[{"answer":"a","votes":2},{"answer":"b","votes":1}]}"#
        );
    }
}
