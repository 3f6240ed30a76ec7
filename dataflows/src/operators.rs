//! What stateful operators share: the scaffold that turns a fold into an operator, and readers of what one has written.

pub mod keyed;
pub mod past;
pub mod rows;
pub mod trace;

pub use keyed::{Arrivals, Capabilities, Fold, Keyed, Output, Passage, Turn};
pub use past::Past;
pub use rows::{Rows, each};
pub use trace::{Own, Written};
