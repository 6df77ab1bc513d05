//! `ringlog tune` against trees of files that stand in for machines, and where it may, against this one.

mod apply;
mod print;
mod settings;
mod tree;
