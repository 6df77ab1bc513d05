//! The simulator: the real broker on simulated disks, a simulated network and virtual time, from one seed.

pub mod actor;
pub mod random;
