//! The rules that papers found, looked for in a table: which hold of its rows, which do not, and which it says nothing of.

mod boards;
mod points;
mod practice;

use std::collections::BTreeMap;

use dunlin_costs::{Backend, Calibration, Origin, Prediction, Row, Situation, Table, Work};
use serde::{Deserialize, Serialize};

use crate::{Economy, measurement::read};

/// Groups that a verdict names.
const MAX_NAMED: usize = 3;
/// The work that rows are compared on.
const CHAT: Work = Work { prompt_tokens: 512, cached_tokens: 0, output_tokens: 128 };

/// A rule, as it is kept in `reference/rules.csv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub id: String,
    pub rule: String,
    /// What was seen.
    pub number: String,
    /// Where.
    pub source: String,
    pub caveat: String,
}

/// What a table says to a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub enum Verdict {
    Holds(String),
    /// It does not: of a table of other boards, builds or models that is a finding, no mistake.
    Fails(String),
    /// No rows that could say.
    Silent(String),
    /// Not of a table: what Dunlin does instead.
    Practice(String),
}

/// A rule and its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(flatten)]
    pub rule: Rule,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// All rules.
///
/// # Errors
/// [`ReferenceError`](crate::ReferenceError), which the tests of this crate rule out.
pub fn rules() -> Result<Vec<Rule>, crate::ReferenceError> {
    read("rules.csv", include_str!("../../reference/rules.csv"))
}

/// Each rule, in order, and what the rows say to it.
///
/// # Errors
/// As [`rules`].
pub fn lint(table: &Table) -> Result<Vec<Finding>, crate::ReferenceError> {
    let rows = Rated::all(table);
    let finding = |rule: Rule| {
        let verdict = judge(&rule.id, &rows);
        Finding { rule, verdict }
    };
    Ok(rules()?.into_iter().map(finding).collect())
}

fn judge(id: &str, rows: &[Rated<'_>]) -> Verdict {
    match id {
        "R01" => points::threads_differ(rows),
        "R02" => points::not_all_cores(rows),
        "R03" => points::pi_saves(rows),
        "R04" => points::pi_reads_fast(rows),
        "R05" => points::orin_cpu_does_not_save(rows),
        "R06" => points::lowest_mode_is_dominated(rows),
        "R07" => points::modes_by_size(rows),
        "R08" => points::plain_quantisation(rows),
        "R09" => boards::prompts_to_the_gpu(rows),
        "R10" => practice::load_is_a_term(rows),
        "R11" => practice::residency(),
        "R12" => practice::memory_is_known(rows),
        "R13" => boards::cold_and_short(rows),
        "R14" => boards::reading_speed(rows),
        "R15" => boards::objectives_differ(rows),
        "R16" => boards::gpu_dominates(rows),
        "R17" => boards::size_is_not_speed(rows),
        "R18" => practice::medians(rows),
        "R19" => practice::loads_by_mode(rows),
        "R20" => boards::payback(rows),
        "R21" => boards::joules_as_published(rows),
        "R22" => practice::depth_is_charged(rows),
        "R23" => practice::heat_is_a_state(rows),
        "R24" => practice::modes_have_names(rows),
        _ => Verdict::Silent("no check is written for it".to_owned()),
    }
}

/// A row and what chat comes to on it.
pub(crate) struct Rated<'a> {
    pub(crate) row: &'a Row,
    pub(crate) chat: Prediction,
    pub(crate) economy: Economy,
}

impl<'a> Rated<'a> {
    fn all(table: &'a Table) -> Vec<Self> {
        let rate = |row: &'a Row| Self {
            row,
            chat: row.predict(&CHAT, &Situation::default(), &Calibration::default()),
            economy: Economy::of(row, CHAT),
        };
        table.rows().map(rate).collect()
    }

    /// Joules a token in and out; `None` without power that ranks.
    fn joules(&self) -> Option<(f64, f64)> {
        let of = self.economy.joules?;
        Some((of.per_input_token.nominal, of.per_output_token.nominal))
    }

    fn is_of(&self, family: &str) -> bool {
        self.row.key.class.as_str().starts_with(family)
    }

    fn mode(&self) -> &str {
        self.row.key.mode.as_str()
    }

    fn is_cpu(&self) -> bool {
        self.row.key.backend == Backend::Cpu
    }

    /// Model and class, and that nobody measured it: a declared row obeys what its author knew.
    fn place(&self) -> String {
        let assumed = if self.row.provenance.origin >= Origin::Prior { " (assumed)" } else { "" };
        format!("{} {} on {}{assumed}", self.row.name, self.row.key.quantisation, self.row.key.class)
    }

    fn place_and_mode(&self) -> String {
        format!("{} in {}", self.place(), self.mode())
    }
}

/// By what they have in common, in its order.
fn grouped<'a, 'b, K: Ord>(
    rows: impl IntoIterator<Item = &'b Rated<'a>>,
    key: impl Fn(&Rated<'a>) -> K,
) -> BTreeMap<K, Vec<&'b Rated<'a>>>
where
    'a: 'b,
{
    let mut groups = BTreeMap::<K, Vec<_>>::new();
    for row in rows {
        groups.entry(key(row)).or_default().push(row);
    }
    groups
}

/// The row where it is least; `None` if it is known of none.
fn least<'a, 'b>(rows: &[&'b Rated<'a>], cost: impl Fn(&Rated<'a>) -> Option<f64>) -> Option<&'b Rated<'a>> {
    let known = rows.iter().filter_map(|row| Some((*row, cost(row)?)));
    known.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(row, _)| row)
}

/// Of groups that hold and groups that do not.
struct Tally {
    holds: Vec<String>,
    fails: Vec<String>,
}

impl Tally {
    fn of(judged: impl IntoIterator<Item = (bool, String)>) -> Self {
        let mut tally = Self { holds: Vec::new(), fails: Vec::new() };
        for (holds, what) in judged {
            if holds { tally.holds.push(what) } else { tally.fails.push(what) }
        }
        tally
    }

    /// Holds if it does of every group.
    fn verdict(&self, silent: &str) -> Verdict {
        match (self.holds.is_empty(), self.fails.is_empty()) {
            (true, true) => Verdict::Silent(silent.to_owned()),
            (_, true) => Verdict::Holds(named(&self.holds)),
            (true, _) => Verdict::Fails(named(&self.fails)),
            _ => Verdict::Fails(format!("not of {}; but of {}", named(&self.fails), named(&self.holds))),
        }
    }
}

fn named(groups: &[String]) -> String {
    let first = groups.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    match groups.len().saturating_sub(MAX_NAMED) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::reference;

    #[test]
    fn every_rule_has_a_check() {
        let rules = rules().unwrap();
        let ids: Vec<String> = (1..=24).map(|number| format!("R{number:02}")).collect();
        assert_eq!(rules.iter().map(|rule| rule.id.clone()).collect::<Vec<_>>(), ids);
        for finding in lint(&Table::default()).unwrap() {
            let said = format!("{:?}", finding.verdict);
            assert!(!said.contains("no check is written"), "{} {said}", finding.rule.id);
            assert!(
                matches!(finding.verdict, Verdict::Silent(_) | Verdict::Practice(_)),
                "{}",
                finding.rule.id
            );
        }
    }

    #[test]
    fn of_the_reference() {
        let line = |finding: Finding| format!("{} {:?}\n", finding.rule.id, finding.verdict);
        let said: String = lint(&reference().unwrap()).unwrap().into_iter().map(line).collect();
        expect![[r#"
            R01 Holds("Llama-3.2-1B Q4_K_M on pi5-8g (assumed) in ondemand: reads by 4, answers by 2; Llama-3.2-1B Q4_K_M on pi5-8g (assumed) in performance: reads by 4, answers by 2; Llama-3.2-1B Q4_K_M on pi5-8g (assumed) in powersave: reads by 4, answers by 3; and 9 more")
            R02 Holds("Llama-3.2-1B Q4_K_M on pi5-8g (assumed) in ondemand: 2 of 4 threads are fastest; Llama-3.2-1B Q4_K_M on pi5-8g (assumed) in performance: 2 of 4 threads are fastest; Llama-3.2-1B Q4_K_M on pi5-8g (assumed) in powersave: 3 of 4 threads are fastest; and 9 more")
            R03 Holds("Llama-3.2-1B Q4_K_M on pi5-8g (assumed): powersave; Llama-3.2-3B Q4_K_M on pi5-8g (assumed): powersave; Qwen2.5-1.5B Q4_K_M on pi5-8g (assumed): powersave; and 1 more")
            R04 Holds("Llama-3.2-1B Q4_K_M on pi5-8g (assumed): 17 % less; Llama-3.2-3B Q4_K_M on pi5-8g (assumed): 17 % less; Qwen2.5-1.5B Q4_K_M on pi5-8g (assumed): 17 % less; and 1 more")
            R05 Silent("no rows of an Orin's processor")
            R06 Holds("Llama-3.2-1B Q4_K_M on orin-nano-8g: 25W, MAXN are worth having")
            R07 Silent("no rows of the Orin firmware that it was seen on (15W and MAXN, no 25W)")
            R08 Silent("no model has rows in Q4_0 and Q4_K_M at one point")
            R09 Holds("Llama-3.2-1B Q4_K_M, beside pi5-8g: 20.5x in prompts, 2.6x in answers; Llama-3.2-1B Q4_K_M, beside pi5-8g-hot: 40.7x in prompts, 10.9x in answers")
            R10 Holds("Bonsai-1.7B Q1_0 on orin-nano-8g in 15W: 4.8 s; Bonsai-1.7B Q1_0 on orin-nano-8g in 25W: 4.8 s; Llama-3.2-1B Q4_K_M on orin-nano-8g in 15W: 10.7 s; and 44 more")
            R11 Practice("engines stay until their memory is needed, and the least recently used goes first; `models alias --resident-on N` keeps a model on N nodes")
            R12 Holds("Bonsai-1.7B Q1_0 on orin-nano-8g in 15W; Bonsai-1.7B Q1_0 on orin-nano-8g in 25W; Llama-3.2-1B Q4_K_M on orin-nano-8g in 15W; and 44 more")
            R13 Silent("no model has rows of a processor and of a GPU on one class")
            R14 Fails("at 5.3 tokens/s: not of LFM2.5-1.2B Q4_K_M on pi5-8g-hot: 5.1 tokens/s; Llama-3.2-1B Q4_K_M on pi5-8g-hot: 4.7 tokens/s; Llama-3.2-3B Q4_K_M on pi5-8g (assumed): 4.0 tokens/s; and 2 more; but of Bonsai-1.7B Q1_0 on orin-nano-8g: 25.7 tokens/s; LFM2.5-350M Q4_K_M on pi5-8g-hot: 7.4 tokens/s; Llama-3.2-1B Q4_K_M on orin-nano-8g: 53.9 tokens/s; and 3 more")
            R15 Holds("Llama-3.2-1B Q4_K_M on orin-nano-8g: time MAXN 4, joules 25W 4, both MAXN 4; Llama-3.2-1B Q4_K_M on pi5-8g (assumed): time ondemand 2, joules powersave 2, both powersave 3; Llama-3.2-3B Q4_K_M on pi5-8g (assumed): time ondemand 2, joules powersave 2, both powersave 3; and 2 more")
            R16 Silent("no model has rows of a processor and of a GPU on one class")
            R17 Holds("orin-nano-8g in 15W: Bonsai-1.7B 57 ms though smaller than Llama-3.2-1B 30 ms; orin-nano-8g in 25W: Bonsai-1.7B 39 ms though smaller than Llama-3.2-1B 21 ms; pi5-8g-hot in performance: Qwen3-0.6B 298 ms though smaller than LFM2.5-1.2B 196 ms")
            R18 Practice("`dunlin profile` drops each engine's first run and takes medians")
            R19 Silent("no load was measured in two modes")
            R20 Fails("not of Llama-3.2-1B Q4_K_M, beside pi5-8g-hot: 2.1 years without a pause; but of Llama-3.2-1B Q4_K_M, beside pi5-8g: 7.9 years without a pause")
            R21 Fails("not of Qwen3-0.6B Q8_0 on pi5-8g-hot: 0.1151 J in, 3.170 J out; but of Bonsai-1.7B Q1_0 on orin-nano-8g: 0.0049 J in, 0.265 J out; LFM2.5-1.2B Q4_K_M on pi5-8g-hot: 0.2490 J in, 2.236 J out; LFM2.5-350M Q4_K_M on pi5-8g-hot: 0.0704 J in, 1.451 J out; and 7 more")
            R22 Holds("Bonsai-1.7B Q1_0 on orin-nano-8g in 15W: 2.26 ms for 1000 tokens; Bonsai-1.7B Q1_0 on orin-nano-8g in 25W: 1.54 ms for 1000 tokens; Llama-3.2-1B Q4_K_M on orin-nano-8g in 15W: 0.61 ms for 1000 tokens; and 8 more")
            R23 Holds("Llama-3.2-1B on pi5-8g: 2.2x as slow when it is throttled")
            R24 Holds("15W; 25W; 7W; and 4 more")
        "#]].assert_eq(&said);
    }
}
