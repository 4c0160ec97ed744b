//! The temperature of a board: warmed by what it draws, cooled towards the room, throttled above a limit.

use std::time::Duration;

use dunlin_costs::Thermal;

/// How a class of boards gets rid of its heat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cooling {
    /// Of the air around it, in degrees Celsius.
    pub room: f64,
    /// Degrees above the room for each watt, in the long run.
    pub degrees_per_watt: f64,
    /// Time constants.
    pub warming: Duration,
    pub cooling: Duration,
    /// From here on the clocks are lowered,
    pub throttles_at: f64,
    /// until it is this cool again.
    pub recovers_at: f64,
    /// By how much arithmetic and memory are slower meanwhile.
    pub slower: (f64, f64),
}

impl Cooling {
    /// Degrees below the limit at which a board counts as warm.
    const WARM: f64 = 15.0;

    /// Of the embedded classes; others do not get hot.
    ///
    /// Pi 5: under load 81 degrees on average without a cooler, 56 with the official one (phoronix.com, "Raspberry Pi 5
    /// benchmarks"), throttling from 80 to 85 degrees; about 11 W in a room of 22 degrees make 3.1 degrees a watt. Its
    /// clocks fall from 2.4 to 1.5 GHz. The published rows of the hot board contain what heat costs. Orin Nano: throttles
    /// at 99 degrees (Jetson Linux developer guide, thermal management); its fan keeps it far below. Time constants are assumed.
    pub(crate) fn of(class: &str) -> Self {
        let cooled = Self {
            room: 22.0,
            degrees_per_watt: 3.1,
            warming: Duration::from_secs(60),
            cooling: Duration::from_secs(90),
            throttles_at: 82.0,
            recovers_at: 75.0,
            slower: (1.6, 1.15),
        };
        match class {
            "pi5-8g" => cooled,
            "pi5-8g-hot" => {
                Self { room: 50.0, throttles_at: 40.0, recovers_at: 40.0, slower: (1.0, 1.0), ..cooled }
            }
            "orin-nano-8g" => Self {
                degrees_per_watt: 2.5,
                throttles_at: 99.0,
                recovers_at: 94.0,
                slower: (2.0, 1.3),
                ..cooled
            },
            _ => Self { degrees_per_watt: 0.0, ..cooled },
        }
    }
}

/// The heat of one board.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heat {
    cooling: Cooling,
    degrees: f64,
    throttled: bool,
}

impl Heat {
    /// Of a board that has drawn so many watts for long.
    pub fn settled(cooling: Cooling, watts: f64) -> Self {
        let degrees = cooling.room + cooling.degrees_per_watt * watts;
        Self { cooling, degrees, throttled: degrees >= cooling.throttles_at }
    }

    /// Draws `watts` for this long.
    pub fn pass(&mut self, time: Duration, watts: f64) {
        let end = self.cooling.room + self.cooling.degrees_per_watt * watts;
        let constant = if end > self.degrees { self.cooling.warming } else { self.cooling.cooling };
        self.degrees = end + (self.degrees - end) * (-time.as_secs_f64() / constant.as_secs_f64()).exp();
        self.throttled = match self.throttled {
            true => self.degrees >= self.cooling.recovers_at,
            false => self.degrees >= self.cooling.throttles_at,
        };
    }

    pub fn degrees(&self) -> f64 {
        self.degrees
    }

    pub fn state(&self) -> Thermal {
        match self.degrees {
            _ if self.throttled => Thermal::Throttled,
            degrees if degrees >= self.cooling.throttles_at - Cooling::WARM => Thermal::Warm,
            _ => Thermal::Cool,
        }
    }

    /// By how much arithmetic and memory are slower now.
    pub fn slower(&self) -> (f64, f64) {
        if self.throttled { self.cooling.slower } else { (1.0, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_mins(10);

    #[test]
    fn a_cooled_board_stays_below_its_limit() {
        let mut heat = Heat::settled(Cooling::of("pi5-8g"), 2.7);
        assert_eq!(heat.state(), Thermal::Cool);
        heat.pass(MINUTES, 11.4);
        assert!((55.0..62.0).contains(&heat.degrees()), "{}", heat.degrees());
        assert_eq!((heat.state(), heat.slower()), (Thermal::Cool, (1.0, 1.0)));
    }

    #[test]
    fn a_board_in_a_hot_place_is_throttled_and_recovers_later_than_it_began() {
        let mut heat = Heat::settled(Cooling { room: 50.0, ..Cooling::of("pi5-8g") }, 2.7);
        let states = [2.7, 11.4, 11.4, 11.4, 2.7, 2.7].map(|watts| {
            heat.pass(Duration::from_secs(60), watts);
            heat.state()
        });

        let names = states.map(|state| format!("{state:?}")).join(" ");
        assert_eq!(names, "Cool Warm Warm Throttled Warm Cool");
        // Between the two limits it depends on where one comes from.
        let mut heating = Heat::settled(Cooling { room: 50.0, ..Cooling::of("pi5-8g") }, 8.0);
        assert_eq!(heating.state(), Thermal::Warm);
        heating.pass(MINUTES, 12.0);
        heating.pass(MINUTES, 9.0);
        assert!((75.0..82.0).contains(&heating.degrees()));
        assert_eq!((heating.state(), heating.slower()), (Thermal::Throttled, (1.6, 1.15)));
    }

    #[test]
    fn what_was_published_of_a_hot_board_contains_its_heat() {
        let heat = Heat::settled(Cooling::of("pi5-8g-hot"), 2.7);
        assert_eq!((heat.state(), heat.slower()), (Thermal::Throttled, (1.0, 1.0)));
    }
}
