//! What the simulator sees and what it is tested with: named states that a run reached, and bugs that are planted on purpose.
//!
//! Both act only in builds with the feature `probes`, which a release build refuses; without it [`reached`] is nothing and
//! [`planted`] is `false` before the program is made, so that neither leaves an instruction. Counts and the choice belong to
//! the thread, as one thread runs one simulation.

#[cfg(all(feature = "probes", not(debug_assertions)))]
compile_error!(
    "the feature `probes` has bugs planted in it: build it with the profile `sim` or `dev`, never for release"
);

/// Makes an enum whose variants have a text each, and a list of them.
macro_rules! registry {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $text:literal])+ $variant:ident,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[doc = $text])+ $variant,)+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            /// What it is, in a sentence.
            pub fn text(self) -> &'static str {
                match self { $($name::$variant => concat!($($text),+).trim_ascii(),)+ }
            }
        }
    };
}

registry! {
    /// States that a campaign of the simulator must have been in. One line each, in the order of the modules they are in.
    State {
        /// recovery cut a torn frame at the end of a journal
        TornTailCut,
    }
}

registry! {
    /// Bugs of one line. Each stands where it is named by [`planted`].
    Bug {
        /// a commit is acknowledged when its write is done, before the flush
        AckBeforeFlush,
    }
}

#[cfg(feature = "probes")]
mod seen {
    use super::{Bug, State};
    use std::cell::Cell;

    thread_local! {
        static REACHED: [Cell<u64>; State::ALL.len()] = const { [const { Cell::new(0) }; State::ALL.len()] };
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub fn reached(state: State) {
        REACHED.with(|counts| counts[state as usize].set(counts[state as usize].get() + 1));
    }

    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Chooses the bug that this thread's broker has from now on, if any.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// How often this thread was in each state since it last asked, in the order of [`State::ALL`].
    pub fn take_reached() -> [u64; State::ALL.len()] {
        REACHED.with(|counts| std::array::from_fn(|k| counts[k].take()))
    }
}

#[cfg(feature = "probes")]
pub use seen::{plant, planted, reached, take_reached};

/// Notes that this state was reached.
#[cfg(not(feature = "probes"))]
#[inline(always)]
pub const fn reached(_state: State) {}

/// Whether this bug is chosen.
#[cfg(not(feature = "probes"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}
