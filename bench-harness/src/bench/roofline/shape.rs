//! What one row of a series asks: which part of the path, on which runtime, with which frames.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Largest payload and most connections: the load's and the server's memory follow them.
const PAYLOAD_MAX: usize = 16 << 20;
const CONNS_MAX: usize = 4000;

/// Which part of the path is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Receive, checksum, answer.
    Network,
    /// Write and flush groups of frames, without a network.
    Disk,
    /// Receive, checksum, stage, write, flush, answer.
    Both,
}

/// What drives the sockets and the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// One io_uring with the broker's flags, no executor.
    Ring,
    /// The glommio crate.
    Glommio,
    /// Epoll for sockets, and a thread that writes and flushes.
    Epoll,
}

/// Frames of one length, on so many connections, with so many in flight on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    pub payload: usize,
    pub conns: usize,
    pub depth: usize,
}

impl Frames {
    /// Bytes of payload that a closed loop has in flight.
    pub fn in_flight(self) -> usize {
        self.payload * self.conns * self.depth
    }
}

/// What one row asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub variant: Variant,
    #[serde(flatten)]
    pub frames: Frames,
    /// Whether an fdatasync follows the writes of a group before it is answered. Without a disk: false.
    pub flushed: bool,
}

impl FromStr for Frames {
    type Err = String;

    /// `PAYLOAD:CONNSxDEPTH`, such as `200:128x5` or `64K:16x5`.
    fn from_str(text: &str) -> Result<Frames, String> {
        let wrong = || format!("{text}: a shape is PAYLOAD:CONNSxDEPTH, such as 64K:16x5");
        let (payload, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (conns, depth) = rest.split_once('x').ok_or_else(wrong)?;
        let (digits, unit) = match payload.strip_suffix(['K', 'k']) {
            Some(digits) => (digits, 1 << 10),
            None => payload.strip_suffix(['M', 'm']).map_or((payload, 1), |digits| (digits, 1 << 20)),
        };
        let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(wrong);
        let frames = Frames {
            payload: number(digits)?.checked_mul(unit).ok_or_else(wrong)?,
            conns: number(conns)?,
            depth: number(depth)?,
        };
        if frames.payload > PAYLOAD_MAX
            || frames.conns > CONNS_MAX
            || frames.depth > 1000
            || frames.in_flight() > 1 << 29
        {
            let most = "at most 16 MiB of payload, 4000 connections, 1000 in flight on each, 512 MiB in flight in all";
            return Err(format!("{text}: {most}"));
        }
        Ok(frames)
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.payload {
            n if n.is_multiple_of(1 << 20) => write!(f, "{}M", n >> 20)?,
            n if n.is_multiple_of(1 << 10) => write!(f, "{}K", n >> 10)?,
            n => write!(f, "{n}")?,
        }
        write!(f, ":{}x{}", self.conns, self.depth)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match (self.variant, self.flushed) {
            (Variant::Network, _) => "network",
            (Variant::Disk, false) => "disk",
            (Variant::Disk, true) => "disk, flushed",
            (Variant::Both, false) => "both",
            (Variant::Both, true) => "both, flushed",
        };
        write!(f, "{} {variant}", self.frames)
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runtime::Ring => "ring",
            Runtime::Glommio => "glommio",
            Runtime::Epoll => "epoll",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_and_written() {
        for text in ["200:128x5", "64K:16x5", "1M:16x1", "1150:8x1"] {
            assert_eq!(text.parse::<Frames>().map(|s| s.to_string()), Ok(text.to_string()));
        }
        for text in ["", "200", "200:5", "0:1x1", "1:0x1", "1G:1x1", "32M:1x1", "1:5000x1", "1M:1000x5", "-1:1x1"] {
            assert!(text.parse::<Frames>().is_err(), "{text}");
        }
    }
}
