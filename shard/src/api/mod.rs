//! (handlers come here)

#[derive(Debug)]
pub enum Question {}
#[derive(Debug)]
pub enum Answer {}
