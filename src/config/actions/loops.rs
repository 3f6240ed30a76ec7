//! Refuses actions whose sink writes what a source of the same configuration reads: each decision would call the next one.

use super::super::error::Problems;
use super::super::sources::fits;
use super::super::typed::Action;
use crate::plan::{SinkPlan, SinkTarget, SourcePlan};
use glob::Pattern;
use toml::Spanned;

pub(in crate::config) fn check(
    typed: &[Spanned<Action>],
    sinks: &[SinkPlan],
    sources: &[SourcePlan],
    problems: &mut Problems,
) {
    for sink in typed.iter().filter_map(|action| action.get_ref().sink.as_ref()) {
        let Some(plan) = sinks.iter().find(|plan| plan.name == *sink.get_ref()) else { continue };
        let feeds = |source: &&SourcePlan| match &plan.target {
            SinkTarget::File(file) => source.paths.iter().any(|path| fits(file, path)),
            SinkTarget::Kafka(kafka) => source.kafka.as_ref().is_some_and(|of| {
                let broker = |broker: &str| of.brokers.split(',').any(|other| other.trim() == broker.trim());
                let topic = |topic: &String| Pattern::new(topic).is_ok_and(|pattern| pattern.matches(&kafka.topic));
                kafka.brokers.split(',').any(broker) && of.topics.iter().any(topic)
            }),
            SinkTarget::Http(_) => false,
        };
        if let Some(source) = sources.iter().find(feeds) {
            let message = format!("the sink `{}` writes what the source `{}` reads", plan.name, source.name);
            let help = "name another file or topic: each decision would become an event, and call the action again";
            problems.push(sink.span(), message, help);
        }
    }
}
