//! The common part of the formats with named columns: a row of texts -> [`Reading`].

use crate::leaves::{self, Told};
use crate::path_set::PathSet;
use crate::reading::{Reading, Slot};
use dataflows::{PathHash, ShapeId, ValueKind};
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// Sets of present columns whose shape is remembered. A file that has more of them is still read right, but pays for
/// hashing the columns of every row beyond.
const REMEMBERED: usize = 4096;

/// The columns of a file. Their names are paths in which dots descend; every value is a string.
#[derive(Debug)]
pub struct Columns {
    columns: Vec<Column>,
    /// One bit per column: it is present in the row being read.
    present: Vec<u64>,
    /// [`ShapeId`] by set of present columns. Only ever spares work: a shape is a function of that set.
    shapes: HashMap<Box<[u64]>, ShapeId, FixedState>,
    leaves: Vec<u64>,
    told: Told,
}

#[derive(Debug)]
struct Column {
    name: Box<str>,
    leaf: u64,
    /// `None`: no setting asks for it.
    slot: Option<Slot>,
    /// The objects that its name leads through.
    through: Box<[Slot]>,
}

impl Columns {
    /// `paths` must be complete: paths that are added to it later are not found.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>, paths: &PathSet) -> Columns {
        let column = |name: N| {
            let path = PathHash::ROOT.key(name.as_ref());
            let through = paths.through(PathHash::ROOT, name.as_ref()).collect();
            let name = name.as_ref().into();
            Column { name, leaf: path.leaf(ValueKind::String), slot: paths.slot(path), through }
        };
        let columns: Vec<Column> = names.into_iter().map(column).collect();
        let present = vec![0; columns.len().div_ceil(64)];
        Columns { columns, present, shapes: HashMap::default(), leaves: Vec::new(), told: Told::default() }
    }

    pub fn count(&self) -> usize {
        self.columns.len()
    }

    /// Replaces what `reading` holds by a row: one cell per column, in their order, as it is. An empty cell is absent:
    /// it is no value and no part of the shape.
    pub fn read<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>, reading: &mut Reading) {
        reading.clear();
        self.present.fill(0);
        for (index, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            if cell.is_empty() {
                continue;
            }
            self.present[index / 64] |= 1 << (index % 64);
            if let Some(slot) = column.slot {
                reading.push(slot, ValueKind::String, cell);
            }
            column.through.iter().for_each(|slot| reading.contain(*slot));
        }
        match self.shapes.get(self.present.as_slice()) {
            Some(shape) => reading.shape = Some(*shape),
            None => self.meet(reading),
        }
    }

    /// Gives a reading the shape of the columns that are present.
    fn meet(&mut self, reading: &mut Reading) {
        let present = &self.present;
        let columns = || {
            let present = |index: usize| present[index / 64] >> (index % 64) & 1 == 1;
            self.columns.iter().enumerate().filter(move |(index, _)| present(*index)).map(|(_, column)| column)
        };
        self.leaves.clear();
        self.leaves.extend(columns().map(|column| column.leaf));
        let shape = ShapeId::of(&mut self.leaves);
        let names = || Some(columns().map(|column| leaves::of_key(&column.name)).collect());
        (reading.shape, reading.leaves) = (Some(shape), self.told.tell(shape, names));
        if self.shapes.len() < REMEMBERED {
            self.shapes.insert(self.present.as_slice().into(), shape);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::path::Path;
    use proptest::prelude::*;

    /// Returns a set of these paths; the slot of each is its index.
    pub fn path_set(paths: &[&str]) -> PathSet {
        let mut set = PathSet::default();
        paths.iter().for_each(|path| _ = set.add(&Path::parse(path).unwrap()));
        set
    }

    /// Returns the text at each slot of `paths`; `""` where there is none.
    pub fn texts<'a>(reading: &'a Reading, paths: &PathSet) -> Vec<&'a str> {
        (0..paths.len()).map(|slot| reading.first(slot as Slot).map_or("", |value| value.text)).collect()
    }

    /// Returns the shape of a row in which exactly `names` are present (docs/classification.md).
    pub fn shape_of(names: &[&str]) -> Option<ShapeId> {
        let path = |name: &&str| name.split('.').fold(PathHash::ROOT, |path, key| path.segment(key.as_bytes()));
        Some(ShapeId::of(&mut names.iter().map(|name| path(name).leaf(ValueKind::String)).collect()))
    }

    #[test]
    fn cells_are_found_by_path() {
        let paths = path_set(&["user.id", "note", "absent"]);
        let mut columns = Columns::new(["note", "user.id", "price"], &paths);
        let mut reading = Reading::default();
        columns.read([" kept as it is ", "u1", "3"], &mut reading);
        assert_eq!(texts(&reading, &paths), ["u1", " kept as it is ", ""]);
        assert_eq!(reading.first(0).unwrap().kind, ValueKind::String);
        assert_eq!(reading.shape, shape_of(&["note", "user.id", "price"]));
        // Nothing stays of the row before.
        columns.read(["", "u2", ""], &mut reading);
        assert_eq!(texts(&reading, &paths), ["u2", "", ""]);
        assert_eq!(reading.shape, shape_of(&["user.id"]));
        columns.read(["", "", ""], &mut reading);
        assert_eq!(reading.shape, shape_of(&[]));
    }

    #[test]
    fn a_shape_is_the_same_whether_it_is_remembered_or_not() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
        let mut columns = Columns::new(names, &PathSet::default());
        let mut reading = Reading::default();
        for _ in 0..2 {
            for set in 0..2 * REMEMBERED {
                let is_present = |index: usize| set >> index & 1 == 1;
                columns.read((0..names.len()).map(|index| if is_present(index) { "x" } else { "" }), &mut reading);
                let present = (0..names.len()).filter(|index| is_present(*index)).map(|index| names[index]);
                assert_eq!(reading.shape, shape_of(&present.collect::<Vec<_>>()));
            }
        }
        assert_eq!(columns.shapes.len(), REMEMBERED);
    }

    proptest! {
        /// More columns than one word of bits holds; each row read by columns that have seen other rows.
        #[test]
        fn rows_agree_with_their_definition(
            rows in prop::collection::vec(prop::collection::vec(prop_oneof!["", "[a-z]{1,3}"], 130), 1..8),
        ) {
            let names: Vec<String> = (0..130).map(|index| format!("group{}.c{index}", index % 7)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let paths = path_set(&names);
            let mut columns = Columns::new(&names, &paths);
            let mut reading = Reading::default();
            for row in rows {
                columns.read(row.iter().map(String::as_str), &mut reading);
                prop_assert_eq!(texts(&reading, &paths), row.clone());
                let present: Vec<&str> = names.iter().zip(&row).filter(|(_, cell)| !cell.is_empty()).map(|(n, _)| *n).collect();
                prop_assert_eq!(reading.shape, shape_of(&present));
            }
        }
    }

    #[test]
    fn the_leaves_of_a_shape_are_said_once() {
        let mut columns = Columns::new(["b", "a.c"], &PathSet::default());
        let mut reading = Reading::default();
        let mut said = |cells: [&str; 2]| {
            columns.read(cells, &mut reading);
            let leaves = reading.leaves.as_ref();
            leaves.map(|leaves| leaves.named.iter().map(|leaf| leaf.path.as_str()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(said(["1", "2"]).as_deref(), Some("a.c b"));
        assert_eq!(said(["3", ""]).as_deref(), Some("b"));
        assert_eq!(said(["1", "2"]), None);
    }
}
