//! What stateful operators share: the scaffold that turns a fold into an operator, and readers of what one has written.

pub mod as_of;
pub mod keyed;
pub mod outputs;
pub mod past;
pub mod rows;
pub mod trace;

pub use as_of::as_of;
pub use keyed::{Arrivals, Fold, Keyed, Turn};
pub use outputs::{Capabilities, Output, Passage};
pub use past::Past;
pub use rows::{Rows, each};
pub use trace::{Own, Written};
