//! Labels to choose among.

use crate::{Asked, Parameter, asked};
use dunlin_guest::Error;

/// More labels than this are no question for a small model.
const MAX_CHOICES: usize = 64;

pub const CHOICES: Parameter =
    Parameter::required("choices", "the labels, with commas between them; or one each time it is given");

/// Two labels or more, no two alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices(Vec<String>);

impl Choices {
    /// Given once, the labels stand between commas; given several times, each is one label, commas and all.
    ///
    /// # Errors
    /// If they are no choice: fewer than two, too many, an empty one, or one twice.
    pub fn read(asked: &Asked<'_>) -> Result<Option<Self>, Error> {
        let given = asked.values(&CHOICES);
        let labels: Vec<&str> = match given[..] {
            [] => return Ok(None),
            [once] => once.split(',').map(str::trim).collect(),
            _ => given.iter().map(|label| label.trim()).collect(),
        };
        check(&labels).map_err(|why| asked::refuse(&CHOICES, &given.join(", "), &why))?;
        Ok(Some(Self(labels.into_iter().map(str::to_owned).collect())))
    }

    /// As [`Self::read`], where there have to be some.
    ///
    /// # Errors
    /// As [`Self::read`], and if there are none.
    pub fn needed(asked: &Asked<'_>) -> Result<Self, Error> {
        Self::read(asked)?.ok_or_else(|| asked::missing(&CHOICES))
    }

    pub fn labels(&self) -> &[String] {
        &self.0
    }

    /// The message of a user who asks which of them it is: `Which one fits: ok, warning or critical?`, and the text.
    pub fn question(&self, question: &str, text: &str) -> String {
        let (last, others) =
            self.0.split_last().map_or(("", [].as_slice()), |(last, others)| (last.as_str(), others));
        format!("{}: {} or {last}?\n{text}", question.trim_end_matches([':', '?', ' ']), others.join(", "))
    }
}

fn check(labels: &[&str]) -> Result<(), String> {
    if labels.iter().any(|label| label.is_empty()) {
        return Err("one of them is empty".into());
    }
    if let Some(twice) =
        labels.iter().enumerate().find_map(|(index, label)| labels[..index].contains(label).then_some(label))
    {
        return Err(format!("{twice:?} is there twice"));
    }
    match labels.len() {
        0 | 1 => Err("there have to be two or more".into()),
        2..=MAX_CHOICES => Ok(()),
        many => Err(format!("these are {many}, and there may be {MAX_CHOICES}")),
    }
}

#[cfg(test)]
mod tests {
    use dunlin_guest::Request;

    use super::*;

    fn read(given: &[&str]) -> Result<Choices, Error> {
        let params = given.iter().map(|value| ("choices".to_owned(), (*value).to_owned())).collect();
        let request = Request { content_type: String::new(), body: Vec::new(), params };
        Choices::needed(&Asked::new(&request, &[CHOICES]).unwrap())
    }

    fn refusal(given: &[&str]) -> String {
        match read(given) {
            Err(Error::InvalidArgument(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn labels_stand_between_commas_or_alone() {
        assert_eq!(read(&["ok, warning,critical "]).unwrap().labels(), ["ok", "warning", "critical"]);
        assert_eq!(read(&["yes, of course", "no"]).unwrap().labels(), ["yes, of course", "no"]);
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        let cases: [(&[&str], &str); 4] = [
            (
                &[],
                r#"the parameter "choices" is missing: the labels, with commas between them; or one each time it is given"#,
            ),
            (&["ok"], r#"the parameter "choices" is "ok": there have to be two or more"#),
            (&["ok,"], r#"the parameter "choices" is "ok,": one of them is empty"#),
            (&["a,b,a"], r#"the parameter "choices" is "a,b,a": "a" is there twice"#),
        ];
        for (given, why) in cases {
            assert_eq!(refusal(given), why);
        }
        let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
        assert!(refusal(&[&many.join(",")]).ends_with("these are 65, and there may be 64"));
    }

    #[test]
    fn a_question_lists_them_as_a_person_would() {
        let ask = |labels: &str, question| read(&[labels]).unwrap().question(question, "disk full");
        assert_eq!(ask("a,b", "Which one fits"), "Which one fits: a or b?\ndisk full");
        assert_eq!(
            ask("ok,warning,critical", "How bad is it?"),
            "How bad is it: ok, warning or critical?\ndisk full"
        );
    }
}
