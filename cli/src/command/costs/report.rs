//! `dunlin costs report`.

use std::collections::BTreeMap;

use dunlin_costs::{Row, Table as CostTable, Work};
use dunlin_tables::{BreakEven, Charge, Economy, READING_TOKENS_PER_SECOND, Tariff};
use serde_json::{Value, json};

use super::selection::{Selection, Shape, TILDE, document_of, model, number, point};
use crate::{
    arguments::Global,
    failure::Failure,
    terminal::{
        self,
        table::{Align, Cell, Table},
    },
};

const HELP: &str = "\
Cents are for a million tokens, joules those at the board's input; RUNS and HOURS are of one charge, working without a pause; \
ALONG says whether answers are as fast as people read, 5.3 tokens/s; J*S is joules x seconds of an output token.

With two --price, each model that both classes have is worked out: after how many years the dearer board has paid for itself by \
drawing less, if it works --share of the time. Loads and idle draw are left out, as in the paper (arXiv:2503.09114v1, 6.3).

Examples:
  dunlin costs report --reference --cents-per-kwh 31
  dunlin costs report --price orin-nano-8g=598.80 --price pi5-8g=97 --share 0.5
  dunlin costs report --class pi5-8g --battery 74";

/// Work out what rows come to: cents for a million tokens, runs of a battery charge, years until a board has paid for itself
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Report {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shape: Shape,
    /// What electricity costs
    #[arg(long, value_name = "CENTS", default_value_t = 20.0, value_parser = positive)]
    cents_per_kwh: f64,
    /// What a battery holds, in watt-hours [the default is a telephone's: 67,824 J]
    #[arg(long, value_name = "WH", default_value_t = 18.84, value_parser = positive)]
    battery: f64,
    /// What a board costs, in the currency of the cents; twice
    #[arg(long = "price", value_name = "CLASS=PRICE", value_parser = price)]
    prices: Vec<(String, f64)>,
    /// Part of the time that the dearer board works, 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 1.0, value_parser = share)]
    share: f64,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a number above 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("a part of the time is above 0, and at most 1".to_owned()),
    }
}

fn price(text: &str) -> Result<(String, f64), String> {
    let split = text.split_once('=').and_then(|(class, price)| Some((class, positive(price).ok()?)));
    split
        .map(|(class, price)| (class.to_owned(), price))
        .ok_or_else(|| "write CLASS=PRICE, as in pi5-8g=97".to_owned())
}

impl Report {
    const fn tariff(&self) -> Tariff {
        Tariff { cents_per_kwh: self.cents_per_kwh }
    }

    /// # Errors
    /// If there are no such rows, or prices that cannot be compared.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let (rows, work) = (self.selection.rows()?, self.shape.work());
        let pairs = self.pairs(&rows, work)?;
        if self.json {
            let rows: Vec<Value> = rows.rows().map(|row| self.document(row, work)).collect();
            let pairs: Vec<Value> = pairs
                .iter()
                .map(|pair| json!({ "model": pair.model, "dearer": pair.dearer, "cheaper": pair.cheaper, "break_even": pair.even }))
                .collect();
            return terminal::print_json(&json!({
                "cents_per_kwh": self.cents_per_kwh, "battery_wh": self.battery, "rows": rows, "break_even": pairs,
            }));
        }
        let mut table = Table::new([
            ("MODEL", Align::Left),
            ("CLASS", Align::Left),
            ("POINT", Align::Left),
            ("c/M IN", Align::Right),
            ("c/M OUT", Align::Right),
            ("J/RUN", Align::Right),
            ("RUNS", Align::Right),
            ("HOURS", Align::Right),
            ("TOKENS/S", Align::Right),
            ("ALONG", Align::Left),
            ("J*S", Align::Right),
        ]);
        rows.rows().for_each(|row| table.row(self.cells(row, work)));
        terminal::print(table)?;
        for pair in &pairs {
            terminal::print(pair.said(self.share))?;
        }
        if !global.quiet {
            terminal::tell(format_args!(
                "{} cents/kWh; a charge of {} Wh; prompts of {} tokens, answers of {}; people read {READING_TOKENS_PER_SECOND} \
                 tokens/s; {TILDE}",
                self.cents_per_kwh, self.battery, work.prompt_tokens, work.output_tokens
            ));
        }
        Ok(())
    }

    fn cells(&self, row: &Row, work: Work) -> Vec<Cell> {
        let economy = Economy::of(row, work);
        let along = if economy.keeps_up_with_a_reader() { "yes" } else { "no" };
        let rate = number(economy.tpot.map(|seconds| 1.0 / seconds), 1);
        let mut cells: Vec<Cell> = vec![model(row).into(), row.key.class.as_str().into(), point(row).into()];
        match (economy.joules, Charge::of(&economy, self.battery)) {
            (Some(joules), Some(charge)) => {
                let cents =
                    |of: dunlin_tables::Range| of.map(|joules| self.tariff().cents_per_million(joules));
                let known: [Cell; 8] = [
                    number(cents(joules.per_input_token), 3).into(),
                    number(cents(joules.per_output_token), 2).into(),
                    number(joules.per_run, 1).into(),
                    number(charge.runs, 0).into(),
                    number(charge.hours, 1).into(),
                    rate.into(),
                    along.into(),
                    number(joules.action, 5).into(),
                ];
                cells.extend(known);
            }
            _ => {
                let unknown = |count: usize| std::iter::repeat_with(|| Cell::from("-")).take(count);
                cells.extend(unknown(5));
                cells.extend([Cell::from(rate), Cell::from(along)]);
                cells.extend(unknown(1));
            }
        }
        cells
    }

    fn document(&self, row: &Row, work: Work) -> Value {
        let economy = Economy::of(row, work);
        let mut document = document_of(row, &economy);
        let cents = |of: dunlin_tables::Range| of.map(|joules| self.tariff().cents_per_million(joules));
        document["reads_along"] = economy.keeps_up_with_a_reader().into();
        document["charge"] = json!(Charge::of(&economy, self.battery));
        document["cents_per_million"] = json!(economy.joules.map(|joules| json!({
            "input": cents(joules.per_input_token), "output": cents(joules.per_output_token),
        })));
        document
    }

    /// What two prices ask for.
    fn pairs(&self, rows: &CostTable, work: Work) -> Result<Vec<Pair>, Failure> {
        let [one, other] = match &self.prices[..] {
            [] => return Ok(Vec::new()),
            [one, other] if one.0 != other.0 => [one, other],
            _ => {
                return Err(Failure::usage("a break-even is between two classes")
                    .hint("give --price CLASS=PRICE twice, for two classes"));
            }
        };
        let (dearer, cheaper) = if one.1 >= other.1 { (one, other) } else { (other, one) };
        let (ours, mut theirs) = (frugal(rows, &dearer.0, work), frugal(rows, &cheaper.0, work));
        let cents = (dearer.1 - cheaper.1) * 100.0;
        let pairs: Vec<Pair> = ours
            .into_iter()
            .filter_map(|(model, our)| {
                let even = BreakEven::of(&our, &theirs.remove(&model)?, cents, self.share, self.tariff())?;
                Some(Pair { model, dearer: dearer.0.clone(), cheaper: cheaper.0.clone(), even })
            })
            .collect();
        if pairs.is_empty() {
            return Err(Failure::usage(format!(
                "no model has rows with watts of {} and {}",
                dearer.0, cheaper.0
            ))
            .hint("dunlin costs show lists what has"));
        }
        Ok(pairs)
    }
}

/// By model, the row of a class with the fewest joules for the work.
fn frugal(rows: &CostTable, class: &str, work: Work) -> BTreeMap<String, Economy> {
    let mut found = BTreeMap::<String, Economy>::new();
    for row in rows.rows().filter(|row| row.key.class.as_str().eq_ignore_ascii_case(class)) {
        let economy = Economy::of(row, work);
        let Some(joules) = economy.joules else { continue };
        let known = found.get(&model(row)).and_then(|known| known.joules);
        if known.is_none_or(|known| joules.per_run.nominal < known.per_run.nominal) {
            found.insert(model(row), economy);
        }
    }
    found
}

struct Pair {
    model: String,
    dearer: String,
    cheaper: String,
    even: BreakEven,
}

impl Pair {
    fn said(&self, share: f64) -> String {
        let Self { model, dearer, cheaper, even } = self;
        let boards = even.boards_for_the_same_work;
        match even.years {
            Some(years) => format!(
                "{model}: {dearer} has paid for itself beside {cheaper} after {years:.1} years at work {:.0} % of the time: it \
                 saves {:.1} W; {boards:.1} {cheaper} do the same work",
                share * 100.0,
                even.saved_watts
            ),
            None => format!(
                "{model}: {dearer} never pays for itself beside {cheaper}: it draws {:.1} W more for the same work",
                -even.saved_watts
            ),
        }
    }
}
