//! Regression gates: which metrics of a manifest are compared with a committed baseline, and what the comparison says.
//!
//! From the bottom up: [`Gate`] is what the section `check` of a manifest says; [`measure`] takes from results the values that a gate looks at,
//! as series by place; [`Baseline`] is the file that holds such series from before; [`compare`] holds one against the other, and [`changes`]
//! says what an update of the file changes. Knows neither stores nor runs nor how a finding is shown. Tests and tolerances are those of
//! `talkflow-statistics`.

mod baseline;
mod changes;
mod compare;
mod direction;
mod gate;
mod measure;

pub use baseline::{Baseline, Kept, KeptSeries, MOST_BYTES, Unreadable, read as read_baseline};
pub use changes::{Change, changes};
pub use compare::{Finding, Verdict, compare};
pub use direction::Better;
pub use gate::{Around, Gate, Known, Rule, declared, form, gates};
pub use measure::{MEAN, Measured, Place, Selected, Series, Values, measure};

#[cfg(test)]
mod tests;
