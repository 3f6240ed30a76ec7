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

targets! { json csv clf time path config framing event log }
