//! What rows come to: money, battery charges, waiting. The arithmetic of arXiv:2503.09114v1 (5.3, 6.2, 6.3).

use dunlin_costs::{Bound, Calibration, Row, Situation, Work};
use serde::Serialize;

/// Joules of a kilowatt-hour.
pub const JOULES_PER_KWH: f64 = 3.6e6;
/// Tokens a second that people read: 4 words a second at 0.75 words a token (arXiv:2503.09114v1, 6.2).
pub const READING_TOKENS_PER_SECOND: f64 = 5.3;
const SECONDS_PER_YEAR: f64 = 365.25 * 86_400.0;

/// What electricity costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tariff {
    pub cents_per_kwh: f64,
}

impl Tariff {
    /// Joules for a cent: 180,000 at 20 cents.
    pub fn joules_per_cent(self) -> f64 {
        JOULES_PER_KWH / self.cents_per_kwh
    }

    /// Cents for a million tokens.
    pub fn cents_per_million(self, joules_per_token: f64) -> f64 {
        joules_per_token * 1e6 / self.joules_per_cent()
    }
}

/// A value over what is assumed: at the cheap end, as predicted, at the dear end.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Range {
    pub low: f64,
    pub nominal: f64,
    pub high: f64,
}

impl Range {
    fn over(value: impl Fn(Bound) -> Option<f64>) -> Option<Self> {
        let (a, nominal, b) = (value(Bound::Low)?, value(Bound::Nominal)?, value(Bound::High)?);
        Some(Self { low: a.min(b).min(nominal), nominal, high: a.max(b).max(nominal) })
    }

    #[must_use]
    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        let (a, b) = (change(self.low), change(self.high));
        Self { low: a.min(b), nominal: change(self.nominal), high: a.max(b) }
    }

    /// Something of it is assumed.
    pub fn is_wide(self) -> bool {
        self.high - self.low > 1e-9 * self.nominal.abs()
    }
}

/// What one run of some work comes to on a row, alone on a node that has the model resident.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Economy {
    pub work: Shape,
    /// Seconds.
    pub ttft: Range,
    /// Seconds a token.
    pub tpot: Range,
    /// Seconds from the request to the last token.
    pub completion: Range,
    /// Joules at the board's input, idle draw included; `None` where the row has no power that ranks.
    pub joules: Option<TokenJoules>,
}

/// Tokens of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    pub prompt_tokens: u32,
    pub output_tokens: u32,
}

/// Joules of a run, and by token of each phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TokenJoules {
    pub per_input_token: Range,
    pub per_output_token: Range,
    pub per_run: Range,
    /// J/token x s/token of decoding.
    pub action: Range,
}

impl Economy {
    pub fn of(row: &Row, work: Work) -> Self {
        let at = |bound| row.steps_at(bound).predict(&work, &Situation::default(), &Calibration::default());
        let seconds = |of: fn(&dunlin_costs::Prediction) -> f64| {
            Range::over(|bound| Some(of(&at(bound)))).unwrap_or_default()
        };
        let watts = |bound| row.power.as_ref().and_then(|power| power.board(bound).ok());
        let input =
            |bound| Some(watts(bound)?.prefill * at(bound).ttft.mean / f64::from(work.prompt_tokens.max(1)));
        let output = |bound| Some(watts(bound)?.decode * at(bound).tpot.mean);
        let per_run = |bound| Some(at(bound).joules?.total);
        let action = |bound| Some(output(bound)? * at(bound).tpot.mean);
        let joules = || {
            Some(TokenJoules {
                per_input_token: Range::over(input)?,
                per_output_token: Range::over(output)?,
                per_run: Range::over(per_run)?,
                action: Range::over(action)?,
            })
        };
        Self {
            work: Shape { prompt_tokens: work.prompt_tokens, output_tokens: work.output_tokens },
            ttft: seconds(|prediction| prediction.ttft.mean),
            tpot: seconds(|prediction| prediction.tpot.mean),
            completion: seconds(|prediction| prediction.completion.mean),
            joules: joules(),
        }
    }

    /// As fast as people read.
    pub fn keeps_up_with_a_reader(&self) -> bool {
        1.0 / self.tpot.nominal >= READING_TOKENS_PER_SECOND
    }
}

/// How far a charge goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Charge {
    pub runs: Range,
    /// Running without a pause.
    pub hours: Range,
}

impl Charge {
    /// `None` where nothing is known of the joules.
    pub fn of(economy: &Economy, watt_hours: f64) -> Option<Self> {
        let joules = economy.joules?.per_run;
        let runs = joules.map(|joules| watt_hours * 3600.0 / joules);
        // A slow run that draws little, and a fast one that draws much: at each end of the range by itself.
        let hours = |joules: f64, seconds: f64| watt_hours * 3600.0 / joules * seconds / 3600.0;
        let ends = [
            hours(joules.low, economy.completion.low),
            hours(joules.nominal, economy.completion.nominal),
            hours(joules.high, economy.completion.high),
        ];
        let low = ends.into_iter().fold(f64::INFINITY, f64::min);
        let high = ends.into_iter().fold(0.0, f64::max);
        Some(Self { runs, hours: Range { low, nominal: ends[1], high } })
    }
}

/// When a dearer board has paid for itself by drawing less for the same work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BreakEven {
    /// Watts that it saves while it works.
    pub saved_watts: f64,
    /// `None`: never, it draws more for the same work.
    pub years: Option<f64>,
    /// Of the cheaper board, how many do the work of one.
    pub boards_for_the_same_work: f64,
}

impl BreakEven {
    /// The dearer board works this share of the time (0 to 1) on runs of one shape; the cheaper one would do as many, and
    /// take its own time for each. Loads and idle draw are left out, as in the paper.
    pub fn of(
        dearer: &Economy,
        cheaper: &Economy,
        cents_between: f64,
        share: f64,
        tariff: Tariff,
    ) -> Option<Self> {
        let (theirs, ours) = (cheaper.joules?.per_run.nominal, dearer.joules?.per_run.nominal);
        let saved_watts = (theirs - ours) / dearer.completion.nominal;
        Some(Self {
            saved_watts,
            years: years(cents_between, saved_watts, share, tariff),
            boards_for_the_same_work: cheaper.completion.nominal / dearer.completion.nominal,
        })
    }
}

/// Years until what is saved has paid a difference of price; `None` if nothing is saved.
pub fn years(cents_between: f64, saved_watts: f64, share: f64, tariff: Tariff) -> Option<f64> {
    let cents_per_year = saved_watts * share * SECONDS_PER_YEAR / tariff.joules_per_cent();
    (cents_per_year > 0.0).then(|| cents_between / cents_per_year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    const TWENTY: Tariff = Tariff { cents_per_kwh: 20.0 };

    fn about(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 0.01, "{value} is not about {expected}");
    }

    /// arXiv:2503.09114v1, 6.3: cents for a million tokens, and the joules of a token that follow.
    #[test]
    fn cents_and_joules_as_in_the_paper() {
        about(TWENTY.joules_per_cent(), 180_000.0);
        for (joules, cents) in [(0.0045, 0.025), (0.605, 3.361), (0.154, 0.855), (2.846, 15.811)] {
            about(TWENTY.cents_per_million(joules), cents);
        }
        // Its ratios to a price in the cloud: 15 and 60 cents for a million tokens in and out.
        for (cloud, joules, ratio) in
            [(15.0, 0.0045, 600.0), (15.0, 0.605, 4.46), (60.0, 0.154, 70.18), (60.0, 2.846, 3.79)]
        {
            about(cloud / TWENTY.cents_per_million(joules), ratio);
        }
    }

    /// Liu, Zhang, Shi 2026, IV-B: an AGX Orin with DeepSeek-1.5B in two modes.
    #[test]
    fn joules_seconds_and_their_product_rank_two_modes_differently() {
        let (slow, fast) = ((0.707, 0.114), (0.929, 0.037));
        assert!(slow.0 < fast.0 && slow.1 > fast.1);
        about(slow.0 * slow.1, 0.0806);
        about(fast.0 * fast.1, 0.0344);
    }

    /// arXiv:2503.09114v1, 6.3: 598.80 and 97 dollars; at best some 15 years, which is 19 W saved without a pause.
    #[test]
    fn a_board_that_saves_19_watts_is_paid_for_after_15_years() {
        about(years(50_180.0, 19.08, 1.0, TWENTY).unwrap(), 15.0);
        about(years(50_180.0, 19.08, 0.5, TWENTY).unwrap(), 30.0);
        assert_eq!(years(50_180.0, -1.0, 1.0, TWENTY), None);
    }

    #[test]
    fn an_orin_and_a_hot_pi() {
        let table = reference().unwrap();
        let work = Work { prompt_tokens: 512, cached_tokens: 0, output_tokens: 128 };
        let economy = |class: &str, mode: &str| {
            let of = |row: &&Row| {
                row.name == "Llama-3.2-1B" && row.key.class.as_str() == class && row.key.mode.as_str() == mode
            };
            Economy::of(table.rows().find(of).unwrap(), work)
        };
        let (orin, pi) = (economy("orin-nano-8g", "25W"), economy("pi5-8g-hot", "performance"));
        about(orin.tpot.nominal, 0.02053);
        assert!(orin.keeps_up_with_a_reader() && pi.tpot.nominal > 0.188 && !pi.keeps_up_with_a_reader());
        let joules = orin.joules.unwrap();
        about(joules.per_output_token.nominal, (8.56 + 2.25) * 0.0205);
        assert!(joules.per_output_token.is_wide(), "the correction is a range");
        let charge = Charge::of(&orin, 18.84).unwrap();
        about(charge.runs.nominal * joules.per_run.nominal, 67_824.0);
        about(charge.hours.nominal * 3600.0, charge.runs.nominal * orin.completion.nominal);
        let even = BreakEven::of(&orin, &pi, 50_180.0, 1.0, TWENTY).unwrap();
        about(even.saved_watts, (pi.joules.unwrap().per_run.nominal - joules.per_run.nominal) / 2.9);
        assert!(even.boards_for_the_same_work > 10.0);
        let never = BreakEven::of(&pi, &orin, 50_180.0, 1.0, TWENTY).unwrap();
        assert_eq!(never.years, None);
    }
}
