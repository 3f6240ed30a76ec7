//! The same records in another order: copies of log files with their lines reversed or shuffled (of CSV: below the header;
//! no row of these sets spans lines), and the files among themselves too.

use crate::headwater::Folder;
use std::io::Read as _;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// The files as they were published.
    Forward,
    /// Plain copies.
    Reversed,
    /// Copies compressed by zstd, without a last newline.
    Shuffled,
}

/// The files that hold the records of `files` in this order. Log order is the order of the files' names.
pub fn reorder(files: &[PathBuf], order: Order, folder: &Folder) -> Vec<PathBuf> {
    if order == Order::Forward {
        return files.to_vec();
    }
    let mut random = Random(20_150_517);
    let mut numbers: Vec<usize> = (0..files.len()).collect();
    arrange(&mut numbers, order, &mut random);
    let copy = |(file, number): (&PathBuf, usize)| {
        let content = gunzip(file);
        let mut records: Vec<&[u8]> = content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
        let body = if is_csv(file) { &mut records[1..] } else { &mut records[..] };
        arrange(body, order, &mut random);
        let mut copy = records.join(&b'\n');
        let name = format!("{order:?}/{number:04}");
        if order == Order::Shuffled {
            copy = zstd::encode_all(copy.as_slice(), 1).unwrap();
        } else {
            copy.push(b'\n');
        }
        folder.write(&name, copy)
    };
    files.iter().zip(numbers).map(copy).collect()
}

pub fn gunzip(file: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(std::fs::File::open(file).unwrap());
    decoder.read_to_end(&mut content).unwrap();
    content
}

fn is_csv(file: &Path) -> bool {
    file.to_str().unwrap().ends_with(".csv.gz")
}

fn arrange<T>(items: &mut [T], order: Order, random: &mut Random) {
    match order {
        Order::Forward => {}
        Order::Reversed => items.reverse(),
        Order::Shuffled => (1..items.len()).rev().for_each(|n| items.swap(n, random.below(n + 1))),
    }
}

/// SplitMix64: the same shuffle in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
