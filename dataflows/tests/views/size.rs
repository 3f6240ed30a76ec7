//! How large the graph of a running engine is: each operator, and each channel into one, is tracked tick by tick by every
//! worker, with anything in it or not.

use super::steps::GAP;
use dataflows::EventId;
use dataflows::engine::Engine;
use dataflows::ingest::Dedupe;
use dataflows::learn::Learning;
use dataflows::pipeline::Settings;
use dataflows::sessionize::Policies;
use std::cell::RefCell;
use std::rc::Rc;
use timely::logging::{TimelyEvent, TimelyEventBuilder};

/// The names of the operators, and between which of them there are channels.
#[derive(Debug, Default)]
struct Graph {
    operators: Vec<(usize, String)>,
    channels: Vec<(usize, usize)>,
}

impl Graph {
    fn of(settings: Settings) -> Graph {
        timely::execute_directly(move |worker| {
            let graph = Rc::<RefCell<Graph>>::default();
            let told = Rc::clone(&graph);
            let mut log = worker.log_register().unwrap();
            log.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
                for (_, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
                    match event {
                        // The first part of an address is that of the dataflow.
                        TimelyEvent::Operates(event) if event.addr.len() == 2 => {
                            told.borrow_mut().operators.push((event.addr[1], event.name));
                        }
                        TimelyEvent::Channels(event) => {
                            told.borrow_mut().channels.push((event.source.0, event.target.0));
                        }
                        _ => {}
                    }
                }
            });
            drop(log);
            let engine = Engine::new(worker, settings);
            worker.log_register().unwrap().flush();
            worker.log_register().unwrap().remove("timely");
            engine.close(worker);
            let mut graph = graph.take();
            graph.operators.sort();
            graph
        })
    }

    /// The names of the operators, in the order in which they are scheduled.
    fn names(&self) -> Vec<&str> {
        self.operators.iter().map(|(_, name)| name.as_str()).collect()
    }
}

/// An operator more is paid for in every tick of every process: have a reason, then change the figures.
#[test]
fn the_graph_has_no_more_operators_and_channels_than_it_needs() {
    let live = Settings { gap: GAP, clock: true, ..Settings::default() };
    let graph = Graph::of(live.clone());
    // An empty stream, and an input that is closed with the first tick, cost nothing later.
    let [empty, restored] = ["Empty", "Input"];
    let before = ["Input", "Unpack", empty, restored, restored];
    let stages = ["Describe", "Tally", "Count", "Shapes", "Sessionize", "Users", "Close", "Watch"];
    assert_eq!(graph.names(), [&before[..], &stages].concat(), "channels: {:?}", graph.channels);
    let sizes = [
        live.clone(),
        Settings { dedupe: Some(Dedupe { ids: EventId::SHARDS }), ..live.clone() },
        // What comes back of the marks, and what snapshots take of them.
        Settings { policies: Some(Policies::default()), ..live.clone() },
        // What weighs signatures, and tells every worker.
        Settings { learning: Some(Learning::default()), ..live.clone() },
        // A replay.
        Settings { clock: false, ..live },
    ];
    let sizes = sizes.map(Graph::of).map(|graph| (graph.operators.len(), graph.channels.len()));
    assert_eq!(sizes, [(13, 23), (14, 26), (14, 25), (16, 29), (12, 17)]);
}
