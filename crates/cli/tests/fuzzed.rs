//! What the fuzzer was given and what it found, once more: `make fuzz` adds to these folders.

use poolwright::fuzzed::{ecosystem_file, environment, manifest};
use std::path::PathBuf;

type Check = fn(&[u8]) -> Result<(), String>;

#[test]
fn nothing_that_the_fuzzer_kept_breaks_a_promise() {
    let kinds: [(&str, Check); 3] = [
        ("manifest", manifest),
        ("ecosystem", ecosystem_file),
        ("environment", environment),
    ];
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (kind, check) in kinds {
        let files = std::fs::read_dir(corpus.join(kind)).unwrap();
        let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "no seeds for {kind}");
        for file in files {
            let checked = check(&std::fs::read(&file).unwrap());
            assert_eq!(checked, Ok(()), "{}", file.display());
        }
    }
}
