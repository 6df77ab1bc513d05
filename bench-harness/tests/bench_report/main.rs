//! Reports, comparisons, history and the gate of `ringlog bench`, from results that are made here.

mod browser;
mod comparing;
mod pages;
mod program;
mod samples;
