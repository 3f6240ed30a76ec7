#[path = "../../../tests/identities/oracle.rs"]
mod oracle;

use super::*;
use oracle::persons;
use proptest::prelude::*;

fn alias(number: u8) -> Alias {
    Alias { kind: number % 3, text: format!("a{}", number / 3).into() }
}

/// Links get a time, another one, or none, some in each tick. After each, the rows are those of the links that are there.
fn check(ticks: &[Vec<(u8, u8, Option<i64>)>], rules: Rules) -> Result<(), TestCaseError> {
    let mut joined = Joined::new(rules);
    let (mut links, mut rows) = (BTreeMap::new(), BTreeMap::new());
    for tick in ticks {
        let mut changes = BTreeMap::new();
        for (one, other, time) in tick {
            let Some(link) = Link::new(alias(*one), alias(*other)) else { continue };
            changes.insert(link, time.and_then(EventTime::from_micros));
        }
        let mut wanted = Vec::new();
        for (link, after) in changes {
            let before = match after {
                Some(time) => links.insert(link.clone(), time),
                None => links.remove(&link),
            };
            if before != after {
                wanted.push(Change { link, before, after });
            }
        }
        for Changed { alias, before, after } in joined.change(&wanted) {
            let known = match &after {
                Some(row) => rows.insert(alias, row.clone()),
                None => rows.remove(&alias),
            };
            // What goes is what came before.
            prop_assert_eq!(known, before);
        }
        prop_assert_eq!(&rows, &persons(&links, rules));
        let left = joined.nodes.len() - joined.free.len();
        prop_assert_eq!(left, rows.len(), "nothing is kept of aliases without links");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn persons_are_those_of_the_links_that_are_there(
        ticks in prop::collection::vec(
            prop::collection::vec((0u8..24, 0u8..24, prop::option::weighted(0.7, 0i64..12)), 0..12),
            1..16,
        ),
        cap in 2u32..9,
        unique in 0u64..8,
    ) {
        check(&ticks, Rules { cap, unique, user: None })?;
    }

    /// A few aliases are in all links: in more than are considered.
    #[test]
    fn an_alias_that_many_share_is_as_its_first_links_say(
        ticks in prop::collection::vec(
            prop::collection::vec((0u8..3, 0u8..60, prop::option::weighted(0.8, 0i64..40)), 0..20),
            1..12,
        ),
        cap in 2u32..4,
        unique in 0u64..8,
    ) {
        check(&ticks, Rules { cap, unique, user: None })?;
    }
}
