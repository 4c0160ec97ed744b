//! Where a request goes: the node, the operating point, the variant.
//!
//! [`Groups`] finds the places to look at, [`assess`] predicts and judges one, [`choose`] takes the best, [`Decision`]
//! keeps why.

mod assess;
mod choose;
mod decision;
mod group;
mod learned;
mod point;
mod question;
mod rows;
mod site;
mod survey;

pub use assess::{CoTenant, Guards, Verdict};
pub use choose::Manner;
pub(crate) use choose::{Choice, choose};
pub(crate) use decision::order;
pub use decision::{Candidate, Decision, MAX_CANDIDATES, Rest};
pub(crate) use group::{GroupId, Groups, Kind};
pub use group::{MAX_GROUPS, MAX_KINDS};
pub(crate) use learned::LeastFactors;
pub(crate) use point::bytes_to_load;
pub use question::PATIENCE;
pub(crate) use question::Question;
pub use rows::MAX_ROWS;
pub(crate) use rows::{RowIndex, Rows};
pub use survey::LOOKS;
pub(crate) use survey::{Spot, Survey};
