//! Which ids of one person an event names together.

use super::{Interpreter, intern};
use crate::absent::Absent;
use crate::longest::bounded;
use crate::reading::Reading;
use crate::spec::LinkSpec;
use dataflows::link::{Alias, Link, Links};
use std::sync::Arc;

impl Interpreter {
    /// Returns the links of an event. Blank and blocked values are no ids.
    pub(super) fn links(&mut self, reading: &Reading, user: Option<&str>) -> Option<Box<Links>> {
        let spec = Arc::clone(&self.spec);
        let LinkSpec { kinds, links, block } = spec.links.as_ref()?;
        let is_id = |absent: &Absent, text: &str| {
            !text.trim().is_empty() && !absent.has(text) && !block.iter().any(|blocked| blocked == text)
        };
        let mut texts = std::mem::take(&mut self.texts);
        let mut alias = |kind: u8| {
            let text = match kinds.get(usize::from(kind))? {
                None => user?,
                Some(field) => reading.first(self.field(reading, *field)?)?.text,
            };
            is_id(&self.absent, text).then(|| Alias { kind, text: intern(&mut texts, &bounded(text)) })
        };
        let links = links.iter().filter_map(|[one, other]| Link::new(alias(*one)?, alias(*other)?));
        let links: Links = links.collect();
        self.texts = texts;
        (!links.is_empty()).then(|| Box::new(links))
    }
}
