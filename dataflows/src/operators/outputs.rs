//! The outputs of a stateful operator, and the capabilities that its ticks are answered with.

use crate::time::TotalTime;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession, Session};

/// Holds the capabilities of one tick: one for each output that [`Keyed::output`] or [`Keyed::arranged`] made.
///
/// [`Keyed::output`]: super::Keyed::output
/// [`Keyed::arranged`]: super::Keyed::arranged
#[derive(Debug)]
pub struct Capabilities<T: TotalTime>(pub(super) Vec<Capability<T>>);

/// Builds messages from rows.
pub(super) type Build<D> = CapacityContainerBuilder<Vec<D>>;

/// Sends rows of the tick that is folded, or of the message that is read.
pub struct Output<T: TotalTime, D: Clone + 'static> {
    pub(super) builder: OutputBuilder<T, Build<D>>,
    /// Its place among the capabilities of a tick.
    pub(super) held: usize,
}

impl<T: TotalTime, D: Clone + 'static> Output<T, D> {
    /// Sends rows of the tick whose capabilities these are.
    pub fn give(&mut self, at: &Capabilities<T>, rows: impl IntoIterator<Item = D>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_some() {
            self.send(at, |session| session.give_iterator(rows));
        }
    }

    /// Calls `send` with a session that sends rows one by one, at the tick whose capabilities these are.
    pub fn send(&mut self, at: &Capabilities<T>, send: impl FnOnce(&mut Session<'_, '_, T, Build<D>, Capability<T>>)) {
        send(&mut self.builder.activate().session(&at.0[self.held]));
    }

    /// Returns a session to send at the capabilities of messages, while these are read.
    pub fn activate(&mut self) -> OutputBuilderSession<'_, T, Build<D>> {
        self.builder.activate()
    }
}

/// Sends rows while their message is read. No capability is held for it, so its readers wait for the inputs that pass alone.
pub struct Passage<T: TotalTime, D: Clone + 'static>(pub(super) OutputBuilder<T, Build<D>>);

impl<T: TotalTime, D: Clone + 'static> Passage<T, D> {
    /// Returns a session to send at the capabilities of messages, while these are read.
    pub fn activate(&mut self) -> OutputBuilderSession<'_, T, Build<D>> {
        self.0.activate()
    }
}
