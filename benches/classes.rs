//! Measures how well classes are learned: on each configuration that is given, events of the first half of time teach, and
//! those of the second half lose their type. Beside it, two baselines: the class of the nearest set of paths, and multinomial
//! naive Bayes over paths and kinds.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use dataflows::classify::Class;
use dataflows::engine::Input;
use dataflows::learn::{Learning, Model, ONE, Taught, Tokens, step};
use dataflows::leaves::{Leaf, Leaves};
use dataflows::{Descriptor, EventTime, ShapeId, SignatureId, Tick};
use harness::job::block;
use harness::table::{Table, thousands};
use headwater::collections::place::SourceIndex;
use headwater::config::{Overrides, load};
use headwater::replay::parts_of;
use headwater::source::{Chunk, Chunking, Chunks, Next};
use headwater_decode::Decoder;
use headwater_decode::interpret::{Batch, Range, Role, candidates};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Pairs of a configuration and the files that it reads.
#[derive(Parser)]
struct Arguments {
    /// `CONFIG=FILE,FILE…`
    #[arg(required = true)]
    sets: Vec<String>,
}

fn main() {
    let arguments: Arguments = harness::arguments();
    let columns = [
        "set",
        "events",
        "classes",
        "accuracy",
        "macro-F1",
        "covered at 99 %",
        "calibration error",
        "labelled",
        "right of these",
    ];
    let table = Table::new("Types learned from the first half of time, for the second:", &columns);
    for set in &arguments.sets {
        let (config, files) = set.split_once('=').expect("CONFIG=FILES");
        let set = Set::read(config.into(), files.split(',').map(PathBuf::from).collect());
        let name = PathBuf::from(config).file_stem().unwrap().to_string_lossy().into_owned();
        for (of, outcome) in
            [("model", set.model()), ("nearest paths", set.nearest()), ("naive Bayes", set.multinomial())]
        {
            table.row(&outcome.cells(&format!("{name}, {of}")));
        }
    }
}

/// Events that a model cannot tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    class: Class,
    descriptor: Descriptor,
    leaves: Arc<Leaves>,
}

/// How many events there are of each kind, in the first half of time and in the second one.
struct Set {
    taught: BTreeMap<Kind, u64>,
    asked: BTreeMap<Kind, u64>,
}

impl Set {
    fn read(config: PathBuf, files: Vec<PathBuf>) -> Set {
        let files = files.into_iter().map(|file| std::path::absolute(file).unwrap()).collect();
        let plan = load(&config, &Overrides { workers: Some(1), files, ..Overrides::default() }).unwrap();
        let parts = parts_of(SourceIndex(0), &plan.sources[0]).unwrap();
        let chunks = Chunks::open(parts, Chunking::default()).unwrap();
        let (mut chunk, mut batch) = (Chunk::default(), Batch::default());
        let mut decoder = Decoder::new(plan.spec(), Range::default());
        let mut events: Vec<(EventTime, SignatureId)> = Vec::new();
        let (mut signatures, mut shapes) = (BTreeMap::new(), BTreeMap::new());
        let mut types = BTreeSet::new();
        while chunks.next(Tick::MAX, &mut chunk).unwrap() == Next::Chunk {
            decoder.read(&block(&chunk), &mut batch);
            let of_type = candidates(&plan.sources[0].events, chunk.format, Role::Kind);
            types.extend(of_type.into_iter().flat_map(|one| one.parts).map(|path| path.to_string()));
            let Input { records, names, signatures: new, shapes: found, .. } = &mut batch.input;
            events.extend(records.drain(..).filter_map(|record| Some((record.event.at()?, record.event.signature))));
            signatures.extend(new.drain(..));
            shapes.extend(found.drain(..));
            names.clear();
        }
        events.sort_unstable();
        let kind = |signature: &SignatureId| -> Option<Kind> {
            let descriptor = signatures.get(signature)?.clone();
            let leaves: &Arc<Leaves> = shapes.get::<ShapeId>(&descriptor.shape)?;
            Some(Kind { class: descriptor.kind.clone()?, leaves: Arc::clone(leaves), descriptor })
        };
        let count = |events: &[(EventTime, SignatureId)]| {
            let mut kinds = BTreeMap::new();
            events.iter().filter_map(|(_, of)| kind(of)).for_each(|kind| *kinds.entry(kind).or_insert(0) += 1);
            kinds
        };
        let (first, second) = events.split_at(events.len() / 2);
        let untyped = |kind: Kind| {
            let own = |leaf: &&Leaf| !types.contains(&leaf.path);
            let leaves = Arc::new(Leaves::of(kind.leaves.named.iter().filter(own).cloned().collect()));
            Kind { leaves, ..kind }
        };
        let mut asked = BTreeMap::new();
        count(second).into_iter().for_each(|(kind, events)| *asked.entry(untyped(kind)).or_insert(0) += events);
        Set { taught: count(first), asked }
    }

    fn model(&self) -> Outcome {
        let tokens = |kind: &Kind| Tokens::of(&kind.descriptor, &kind.leaves);
        let taught: Vec<_> = self.taught.iter().map(|(kind, events)| (&kind.class, *events, tokens(kind))).collect();
        let weighed = taught.iter().map(|(class, events, tokens)| Taught {
            class,
            shape: ShapeId(0),
            weight: step(*events),
            tokens,
        });
        let model = Model::of(weighed);
        let guess = |kind: &Kind| {
            let guess = model.guess(&tokens(kind)).unwrap();
            let holds = guess.holds(Learning::default());
            (guess.class, guess.margin as f64 / ONE as f64, holds)
        };
        Outcome::of(&self.asked, guess).with_odds()
    }

    /// The class of the events with the most paths and kinds in common; of equals, of the most events.
    fn nearest(&self) -> Outcome {
        let mut by_paths: BTreeMap<_, BTreeMap<&Class, u64>> = BTreeMap::new();
        for (kind, events) in &self.taught {
            *by_paths.entry(paths(kind)).or_default().entry(&kind.class).or_insert(0) += events;
        }
        let guess = |kind: &Kind| {
            let own = paths(kind);
            let near = |paths: &BTreeSet<_>| own.intersection(paths).count() as f64 / own.union(paths).count() as f64;
            let most = by_paths.iter().flat_map(|(paths, classes)| {
                let near = near(paths);
                classes.iter().map(move |(class, events)| (near, *events, *class))
            });
            let (near, _, class) =
                most.max_by(|one, other| (one.0, one.1).partial_cmp(&(other.0, other.1)).unwrap()).unwrap();
            (Class::clone(class), near, near >= 0.5)
        };
        Outcome::of(&self.asked, guess)
    }

    /// Multinomial naive Bayes, one more of each path and kind (Laplace).
    fn multinomial(&self) -> Outcome {
        let mut classes: BTreeMap<&Class, (u64, BTreeMap<Leaf, u64>)> = BTreeMap::new();
        for (kind, events) in &self.taught {
            let (all, of_path) = classes.entry(&kind.class).or_default();
            *all += events;
            paths(kind).into_iter().for_each(|path| *of_path.entry(path).or_insert(0) += events);
        }
        let known: BTreeSet<&Leaf> = classes.values().flat_map(|(_, of_path)| of_path.keys()).collect();
        let guess = |kind: &Kind| {
            let own = paths(kind);
            let score = |(all, of_path): &(u64, BTreeMap<Leaf, u64>)| {
                let rest = (of_path.values().sum::<u64>() + known.len() as u64) as f64;
                let paths = own.iter().filter(|path| known.contains(path));
                let path = |path| (1.0 + of_path.get(path).copied().unwrap_or(0) as f64) / rest;
                (*all as f64).log2() + paths.map(|of| path(of).log2()).sum::<f64>()
            };
            let mut scores: Vec<_> = classes.iter().map(|(class, learned)| (score(learned), *class)).collect();
            scores.sort_by(|one, other| other.0.total_cmp(&one.0));
            let margin = scores.get(1).map_or(f64::INFINITY, |second| scores[0].0 - second.0);
            (Class::clone(scores[0].1), margin, margin >= 6.0)
        };
        Outcome::of(&self.asked, guess).with_odds()
    }
}

fn paths(kind: &Kind) -> BTreeSet<Leaf> {
    kind.leaves.named.iter().cloned().collect()
}

/// Each kind with its events, whether the guess was right, how sure it was, and whether it would hold.
struct Outcome {
    guesses: Vec<(Class, Class, u64, f64, bool)>,
    /// How sure a guess was is a logarithm of odds.
    odds: bool,
}

impl Outcome {
    fn of(asked: &BTreeMap<Kind, u64>, guess: impl Fn(&Kind) -> (Class, f64, bool)) -> Outcome {
        let guesses = asked.iter().map(|(kind, events)| {
            let (guessed, sure, holds) = guess(kind);
            (Class::clone(&kind.class), guessed, *events, sure, holds)
        });
        Outcome { guesses: guesses.collect(), odds: false }
    }

    fn with_odds(self) -> Outcome {
        Outcome { odds: true, ..self }
    }

    /// How far the share of right guesses is from what they were sure of, in ten steps of that, by their events.
    fn calibration(&self) -> Option<f64> {
        let mut steps = [(0.0, 0.0, 0.0); 10];
        for (class, guessed, events, sure, _) in self.guesses.iter().filter(|_| self.odds) {
            let sure = 1.0 / (1.0 + (-sure).exp2());
            let (all, right, sum) = &mut steps[((sure * 10.0) as usize).min(9)];
            *all += *events as f64;
            *right += if class == guessed { *events as f64 } else { 0.0 };
            *sum += sure * *events as f64;
        }
        let all: f64 = steps.iter().map(|step| step.0).sum();
        self.odds.then(|| steps.iter().map(|(_, right, sum)| (right - sum).abs()).sum::<f64>() / all)
    }

    fn cells(&self, name: &str) -> Vec<String> {
        let sum = |of: &dyn Fn(&(Class, Class, u64, f64, bool)) -> bool| -> f64 {
            self.guesses.iter().filter(|one| of(one)).map(|one| one.2).sum::<u64>() as f64
        };
        let all = sum(&|_| true);
        let classes: BTreeSet<&Class> = self.guesses.iter().map(|one| &one.0).collect();
        let f1 = |class: &&Class| {
            let right = sum(&|one| one.0 == **class && one.1 == **class);
            2.0 * right / (sum(&|one| one.0 == **class) + sum(&|one| one.1 == **class))
        };
        let mut sorted: Vec<_> = self.guesses.iter().collect();
        sorted.sort_by(|one, other| other.3.total_cmp(&one.3));
        let (mut seen, mut right, mut covered) = (0, 0, 0);
        for same in sorted.chunk_by(|one, other| one.3 == other.3) {
            for one in same {
                seen += one.2;
                right += if one.0 == one.1 { one.2 } else { 0 };
            }
            covered = if right * 100 >= seen * 99 { seen } else { covered };
        }
        let holds = sum(&|one| one.4);
        let percent = |part: f64, of: f64| format!("{:.2} %", 100.0 * part / of);
        vec![
            name.to_owned(),
            thousands(all as i64),
            classes.len().to_string(),
            percent(sum(&|one| one.0 == one.1), all),
            format!("{:.4}", classes.iter().map(f1).sum::<f64>() / classes.len() as f64),
            percent(covered as f64, all),
            self.calibration().map_or("-".to_owned(), |error| format!("{error:.4}")),
            percent(holds, all),
            percent(sum(&|one| one.4 && one.0 == one.1), holds),
        ]
    }
}
