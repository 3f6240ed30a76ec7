//! The checks of the fuzz targets hold for every file of their corpora. `fuzz/` runs the same checks on inputs that it
//! makes up, and its findings go into the corpora.

use std::fs;
use std::path::{Path, PathBuf};

mod checks;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        // A panic says what does not hold; this says of which input.
        let guard = Named(&file);
        check(&fs::read(&file).unwrap());
        std::mem::forget(guard);
    }
}

struct Named<'f>(&'f Path);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        eprintln!("this is the input {}", self.0.display());
    }
}

macro_rules! targets {
    ($($target:ident)*) => {$(
        #[test]
        fn $target() {
            replay(stringify!($target), checks::$target::check);
        }
    )*};
}

targets! { json csv clf time path config framing event log content }

/// A little of what the fuzzer does, at every change: files of the corpus with bytes that are changed, left out or twice.
#[test]
fn damaged_content() {
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/content");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let rounds: usize = std::env::var("HEADWATER_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    for file in files {
        let whole = fs::read(&file).unwrap();
        for _ in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..1 + random(4) {
                let at = random(bytes.len());
                let end = (at + random(12)).min(bytes.len());
                match random(5) {
                    0 => bytes.truncate(at.max(1)),
                    1 => drop(bytes.drain(at..end)),
                    2 => bytes[at] = random(256) as u8,
                    3 => bytes[at] = b"\n\r\t \",{}[]\0\\:="[random(14)],
                    _ => {
                        let again = bytes[at..end].to_vec();
                        bytes.splice(at..at, again);
                    }
                }
                if bytes.is_empty() {
                    break;
                }
            }
            checks::content::check(&bytes);
        }
    }
}
