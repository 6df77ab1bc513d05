//! What is fuzzed: every decoder, and the engine's state machines under streams of commands. A target takes any bytes, must neither panic
//! nor want more memory than its bound, and holds what comes out to what must be true of it.

mod batches;
mod groups;
mod input;
mod journals;
mod logs;
mod memory;
mod metadata;
mod producers;
mod requests;
mod settings;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

pub(crate) struct Target {
    /// Of the target, and of the folder with its corpus.
    pub(crate) name: &'static str,
    run: fn(&[u8]),
    /// Bytes of memory that may be in use at once: so many for each byte of input, and so many besides.
    per_byte: usize,
    besides: usize,
}

impl Target {
    /// Tries one input; panics if anything is wrong.
    pub(crate) fn attempt(&self, bytes: &[u8]) {
        let ((), peak) = memory::peak_of(|| (self.run)(bytes));
        let allowed = self.per_byte * bytes.len() + self.besides;
        assert!(peak <= allowed, "{}: {peak} bytes of memory for {} of input", self.name, bytes.len());
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

const fn target(name: &'static str, run: fn(&[u8]), per_byte: usize, besides: usize) -> Target {
    Target { name, run, per_byte, besides }
}

/// The bounds of decoders are a few times what is decoded; those of streams of commands have the machine's state in them.
pub(crate) const ALL: [Target; 15] = [
    target("frames", requests::frames, 72, 66 * KIB),
    target("produce", requests::produce, 8, 4 * KIB),
    target("fetch", requests::fetch, 8, 4 * KIB),
    target("cold", requests::cold, 72, 66 * KIB),
    target("batches", batches::validate, 64, 2 * MIB),
    target("codecs", batches::codecs, 64, 2 * MIB),
    target("journals", journals::replay, 64, 64 * KIB),
    target("states", journals::states, 64, 16 * KIB),
    target("entries", metadata::entries, 128, 64 * KIB),
    target("metadata", metadata::commands, 4 * KIB, MIB),
    target("group-records", groups::records, 256, 64 * KIB),
    target("groups", groups::commands, 4 * KIB, MIB),
    target("settings", settings::texts, 64, 256 * KIB),
    target("logs", logs::commands, KIB, 64 * KIB),
    target("producers", producers::commands, KIB, 64 * KIB),
];
