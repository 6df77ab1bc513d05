//! The referee on trial: every rule with a history that breaks it and one that nearly does; thousands of valid histories of a model
//! broker, none of which it may blame; and the same histories with a lie in them, each of which it must see.

mod build;
mod groups;
mod jepsen;
mod model;
mod mutants;
mod program;
mod rules;
mod stock;
mod transactions;
