//! Queues, parking and blocks under a model checker: every order in which two or three cores can get on, with every stale value that
//! the orderings permit. The broker's own files are compiled against [`sync`] here. Each model is a test; the last test weakens
//! one ordering at a time and wants some model to notice.

#[path = "../../src/io/memory.rs"]
#[expect(dead_code, unreachable_pub, reason = "the broker uses more of it, from further away")]
mod memory;
mod models;
#[path = "../../src/io/queue.rs"]
#[expect(dead_code, unreachable_pub, reason = "the broker uses more of it, from further away")]
mod queue;
mod sync;

use std::process::Command;

/// Runs every model with each ordering in turn made one step weaker, in a process of its own, as what then goes wrong may abort it.
#[test]
fn no_ordering_can_be_weaker() {
    models::ALL.iter().for_each(|model| model());
    if sync::is_weakened() {
        return;
    }
    let sites = sync::sites();
    assert!(sites.len() > 10, "orderings were not found: {sites:?}");
    let mut unnoticed = Vec::new();
    for site in &sites {
        let mut child = Command::new(std::env::current_exe().expect("a running program has a path"));
        child.args(["--exact", "no_ordering_can_be_weaker", "--nocapture"]).env(sync::WEAKEN, site);
        let output = child.output().expect("the test runs itself");
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().skip_while(|line| !line.contains("panicked")).nth(1).unwrap_or("no panic").trim();
        println!("{site}: {}", if output.status.success() { "not noticed" } else { why });
        if output.status.success() {
            unnoticed.push(site.as_str());
        }
    }
    assert!(unnoticed.is_empty(), "weakened, and no model noticed: {unnoticed:?}");
}
