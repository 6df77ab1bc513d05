//! What a row of the table of settings is, what its check finds, and what a change is.

use crate::host::{Host, Trouble};

/// How much it matters where a setting is off, the most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Weight {
    /// The broker does not run, or data may be lost.
    Important,
    /// Seen in latency or throughput.
    Worth,
    /// Seen in figures at most.
    Minor,
}

impl Weight {
    pub const fn name(self) -> &'static str {
        match self {
            Weight::Important => "important",
            Weight::Worth => "worth it",
            Weight::Minor => "minor",
        }
    }
}

/// Who changes a setting, and how it is undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// `apply` writes it, `undo` writes back what was there.
    Written,
    /// The same, but only if it is named: why.
    OnRequest(&'static str),
    /// By hand: how, and how back.
    ByHand { how: &'static str, back: &'static str },
    /// Told only: why it is not for this program to change.
    Told(&'static str),
}

/// One host setting.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub what: &'static str,
    pub why: &'static str,
    /// Where that is written: a page of the kernel's documentation, or a manual.
    pub source: &'static str,
    pub good: &'static str,
    pub weight: Weight,
    pub applied: Applied,
    pub check: fn(&Host) -> Finding,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Off,
    /// Why it is not known.
    Unreadable(String),
    /// Neither good nor bad: to be known.
    Told,
    Good,
    /// Why this machine has no such thing.
    Absent(String),
}

/// How a value is shown by the kernel and given to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Words; white space between them does not matter.
    Plain,
    /// The one in brackets of several words.
    Choice,
    /// Hexadecimal words with commas between.
    Mask,
}

impl Form {
    pub const fn name(self) -> &'static str {
        match self {
            Form::Plain => "plain",
            Form::Choice => "choice",
            Form::Mask => "mask",
        }
    }

    pub fn of(name: &str) -> Option<Form> {
        [Form::Plain, Form::Choice, Form::Mask].into_iter().find(|form| form.name() == name)
    }

    /// What the kernel's text means: two texts that mean the same give the same.
    pub fn value(self, text: &str) -> String {
        match self {
            Form::Plain => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Form::Choice => {
                let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
                chosen.unwrap_or(text.trim()).to_string()
            }
            Form::Mask => {
                let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
                let digits = digits.trim_start_matches('0');
                if digits.is_empty() { "0".into() } else { digits.to_ascii_lowercase() }
            }
        }
    }
}

/// One file to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub path: String,
    pub form: Form,
    pub old: String,
    pub new: String,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub state: State,
    /// What is there, for people.
    pub is: String,
    /// Where it matters more, or less, than its row says.
    pub weight: Option<Weight>,
    /// What would put it right; empty where that is not a file to be written.
    pub changes: Vec<Change>,
}

impl Finding {
    fn new(state: State, is: impl Into<String>) -> Finding {
        Finding { state, is: is.into(), weight: None, changes: Vec::new() }
    }

    pub fn good(is: impl Into<String>) -> Finding {
        Finding::new(State::Good, is)
    }

    pub fn off(is: impl Into<String>) -> Finding {
        Finding::new(State::Off, is)
    }

    pub fn told(is: impl Into<String>) -> Finding {
        Finding::new(State::Told, is)
    }

    pub fn absent(why: impl Into<String>) -> Finding {
        Finding::new(State::Absent(why.into()), "-")
    }

    pub fn unreadable(why: impl Into<String>) -> Finding {
        Finding::new(State::Unreadable(why.into()), "?")
    }

    /// Of a file that was not read; `absent` says what it means that there is none.
    pub fn of(trouble: Trouble, absent: &str) -> Finding {
        match trouble {
            Trouble::Absent => Finding::absent(absent),
            Trouble::Unreadable(why) => Finding::unreadable(why),
        }
    }

    /// Good or off.
    pub fn judged(good: bool, is: impl Into<String>) -> Finding {
        if good { Finding::good(is) } else { Finding::off(is) }
    }

    pub fn at(mut self, weight: Weight) -> Finding {
        self.weight = Some(weight);
        self
    }

    pub fn with(mut self, changes: Vec<Change>) -> Finding {
        self.changes = changes;
        self
    }
}

/// Values of several things, those with the same value together: `none (nvme0n1, nvme1n1), mq-deadline (sda)`.
pub fn gathered(values: &[(String, String)]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, value) in values {
        match groups.iter_mut().find(|(of, _)| of == value) {
            Some((_, names)) => names.push(name),
            None => groups.push((value, vec![name])),
        }
    }
    let shown = groups.iter().map(|(value, names)| match (groups.len(), names.len()) {
        (1, 1) => value.to_string(),
        (_, n) if n > 4 => format!("{value} ({n} of them)"),
        _ => format!("{value} ({})", names.join(", ")),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        assert_eq!(Form::Plain.value("4096\t131072 \n"), Form::Plain.value("4096 131072"));
        assert_eq!(Form::Choice.value("none [mq-deadline] kyber"), "mq-deadline");
        assert_eq!(Form::Choice.value("none"), "none");
        assert_eq!(Form::Mask.value("00000000,0000000F"), Form::Mask.value("f"));
        assert_eq!(Form::Mask.value("00000000"), "0");
        assert_ne!(Form::Mask.value("1,00000000"), Form::Mask.value("1"));
    }

    #[test]
    fn values_are_gathered() {
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(gathered(&[pair("sda", "none")]), "none");
        assert_eq!(gathered(&[pair("a", "x"), pair("b", "y"), pair("c", "x")]), "x (a, c), y (b)");
        let many: Vec<_> = (0..8).map(|k| pair(&format!("cpu{k}"), "powersave")).collect();
        assert_eq!(gathered(&many), "powersave (8 of them)");
    }
}
