//! The procedures from outside: against scipy, as properties, and by simulation.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod properties;
mod reference;
mod sentences;
mod simulation;
