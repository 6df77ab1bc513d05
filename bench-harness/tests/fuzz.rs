//! The fuzzer's corpora on its targets, without the fuzzer: what it once found to be worth keeping still passes. New inputs are looked
//! for by `bench-harness/fuzz/run`.

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::path::Path;

/// Every input of every target's corpus, and each of them cut short.
#[test]
fn corpora_pass() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in &targets::ALL {
        let inputs = std::fs::read_dir(corpora.join(target.name)).unwrap_or_else(|e| panic!("{}: {e}", target.name));
        let mut tried = 0;
        for entry in inputs {
            let path = entry.expect("a folder is read").path();
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            // Told only if it fails.
            println!("{}", path.display());
            target.attempt(&bytes);
            target.attempt(&bytes[..bytes.len() / 2]);
            tried += 1;
        }
        assert!(tried > 10, "{}: a corpus of {tried} inputs", target.name);
    }
}
