//! The user's definitions as data of the control partition: which tests are made of every event, and which rules combine
//! their answers. They change at a tick, like any other input, and without a new program.
//!
//! Tests only ever grow: an event that was read before a test existed has no answer to it, and never will; answers that
//! it has keep their places.

use crate::plan::Plan;
use dataflows::rules::{Condition, Predicate, Rule, Test};
use headwater_decode::path::Path;
use headwater_decode::spec::FieldPlan;
use serde::{Deserialize, Serialize};

/// What a record of the control partition holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Definitions {
    /// All that were ever made, in order.
    pub tests: Vec<NamedTest>,
    /// Their conditions name tests by their place in the list.
    pub rules: Vec<Rule>,
}

/// A test that does not depend on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedTest {
    pub field: String,
    /// Paths as they are written.
    pub candidates: Vec<String>,
    pub predicate: Predicate,
}

impl NamedTest {
    fn of(plan: &Plan, test: &Test) -> NamedTest {
        let FieldPlan { name, candidates } = &plan.fields[test.field];
        let candidates = candidates.iter().map(Path::to_string).collect();
        NamedTest { field: name.clone(), candidates, predicate: test.predicate.clone() }
    }
}

impl Definitions {
    /// What `plan` asks for, after these.
    pub fn followed_by(&self, plan: &Plan) -> Definitions {
        let mut tests = self.tests.clone();
        let places: Vec<u32> = plan
            .tests
            .iter()
            .map(|test| {
                let named = NamedTest::of(plan, test);
                let place = tests.iter().position(|known| *known == named).unwrap_or_else(|| {
                    tests.push(named);
                    tests.len() - 1
                });
                place as u32
            })
            .collect();
        let moved = |rule: &Rule| {
            let condition = |at: &Condition| Condition { test: places[at.test as usize], answer: at.answer };
            Rule { when: rule.when.iter().map(condition).collect(), ..rule.clone() }
        };
        Definitions { rules: plan.rules.iter().map(moved).collect(), tests }
    }

    /// The plan, with these definitions in place of its own.
    ///
    /// # Errors
    /// If a path is none for this program.
    pub fn plan(&self, plan: &Plan) -> Result<Plan, String> {
        let mut plan = Plan { rules: self.rules.clone(), tests: Vec::new(), ..plan.clone() };
        for NamedTest { field, candidates, predicate } in &self.tests {
            let candidates = candidates.iter().map(|path| Path::parse(path)).collect::<Result<Vec<_>, _>>()?;
            let same = |known: &FieldPlan| known.name == *field && known.candidates == candidates;
            let index = plan.fields.iter().position(same).unwrap_or_else(|| {
                plan.fields.push(FieldPlan { name: field.clone(), candidates: candidates.clone() });
                plan.fields.len() - 1
            });
            plan.tests.push(Test { field: index, predicate: predicate.clone() });
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};

    fn plan(classes: &str) -> Plan {
        let text = format!("[fields]\nbutton = ['a.b', 'c']\n[sessions]\nsum = {{ x = 'price' }}\n{classes}");
        let overrides = Overrides { without_files: true, ..Overrides::default() };
        config::parse("test.toml", &text, std::path::Path::new("/"), &overrides).unwrap()
    }

    #[test]
    fn tests_keep_their_places_and_rules_follow() {
        let buy = "[[class]]\nname = 'buy'\nwhen = { button = 'one click' }";
        let look = "[[class]]\nname = 'look'\nwhen = { page = { prefix = '/item' } }";
        let first = Definitions::default().followed_by(&plan(buy));
        assert_eq!((first.tests.len(), first.rules[0].when[0].test), (1, 0));
        assert_eq!(first.followed_by(&plan(buy)), first, "nothing has changed");
        // The order of the file has changed, and one is new.
        let second = first.followed_by(&plan(&format!("{look}\n{buy}")));
        assert_eq!(second.tests[..1], first.tests);
        let by_name = |name: &str| second.rules.iter().find(|rule| rule.name == name).unwrap().when[0].test;
        assert_eq!((by_name("look"), by_name("buy")), (1, 0));
        // A test that no rule makes any more keeps its place.
        let third = second.followed_by(&plan(look));
        assert_eq!((&third.tests, third.rules.len()), (&second.tests, 1));
        let effective = third.plan(&plan(look)).unwrap();
        assert_eq!((effective.tests.len(), effective.rules), (2, third.rules));
        assert_eq!(effective.fields[effective.tests[0].field].name, "button");
        assert_eq!(effective.fields[effective.sessions.sums[0].1].name, "price");
    }
}
