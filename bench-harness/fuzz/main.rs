//! libFuzzer on one of the targets, which `RINGLOG_FUZZ_TARGET` names. Started by `run`.
#![no_main]

mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use targets::Target;

static TARGET: OnceLock<&Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("RINGLOG_FUZZ_TARGET").unwrap_or_default();
        let found = targets::ALL.iter().find(|target| target.name == name);
        let Some(target) = found else {
            targets::ALL.iter().for_each(|target| println!("{}", target.name));
            std::process::exit(1);
        };
        TARGET.get_or_init(|| target);
    },
    |data: &[u8]| TARGET.get().expect("chosen before the first input").attempt(data)
);
