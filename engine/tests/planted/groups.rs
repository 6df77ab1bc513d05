//! The planted bugs of groups: the last answer of a dialogue, as it should be and with the bug.

use super::Stage;
use ringlog_engine::probe::{Bug, plant};

fn last_answer(bug: Option<Bug>, script: &[&str]) -> String {
    plant(bug);
    let mut stage = Stage::new();
    let answers: Vec<String> = script.iter().flat_map(|line| stage.run(line)).collect();
    plant(None);
    answers.last().expect("an answer").clone()
}

fn shows(bug: Bug, script: &[&str], right: &str, wrong: &str) {
    assert_eq!(last_answer(None, script), right);
    assert_eq!(last_answer(Some(bug), script), wrong, "{bug:?}");
}

/// Two members, of which one has left, and the other joins again.
const LEFT: [&str; 8] = [
    "config initial_rebalance_delay_ms=0",
    "1 join g client=a version=3",
    "2 sync g member=a#1 generation=1 assign=a#1:all",
    "3 join g client=b version=3",
    "4 join g member=a#1",
    "5 sync g member=a#1 generation=2 assign=a#1:x,b#3:y",
    "6 leave g b#3",
    "7 join g member=a#1",
];

#[test]
fn a_group_keeps_its_generation() {
    let joined = |n| format!("7 join NONE member=a#1 generation={n} consumer/range leader=a#1 members=[a#1:t]");
    shows(Bug::GenerationKept, &LEFT, &joined(3), &joined(2));
}

#[test]
fn the_generation_before_commits() {
    let mut script = LEFT.to_vec();
    script.extend(["8 sync g member=a#1 generation=3 assign=a#1:all", "9 commit g t-0=5 member=a#1 generation=2"]);
    shows(Bug::OldGenerationCommits, &script, "9 commit t-0:ILLEGAL_GENERATION", "9 commit t-0:NONE");
}

#[test]
fn offsets_of_a_group_that_reads_expire() {
    let script = [
        "config initial_rebalance_delay_ms=0 offsets_retention_ms=1000",
        "1 join g client=a version=3 session=1800000",
        "2 sync g member=a#1 generation=1 assign=a#1:all",
        "3 commit g t-0=5 member=a#1 generation=1",
        "wait 700000",
        "4 fetch g t-0",
    ];
    shows(Bug::LiveOffsetsExpire, &script, "4 fetch NONE t-0=5@-1''", "4 fetch NONE t-0=-1@-1''");
}

#[test]
fn an_offset_outlives_its_topic() {
    let script = ["topics-deleted t 1", "1 commit g t-0=5 id=1", "2 fetch g t-0 id=2"];
    shows(Bug::OffsetsOutliveTopic, &script, "2 fetch NONE t-0=-1@-1''", "2 fetch NONE t-0=5@-1''");
}

#[test]
fn a_rewritten_log_ends_with_the_old_offset() {
    let script = [
        "1 commit g t-0=5",
        "log manual",
        "2 commit g t-0=9",
        "snapshot",
        "appended 1",
        "appended 2",
        "restart",
        "3 fetch g t-0",
    ];
    shows(Bug::SnapshotOldValue, &script, "3 fetch NONE t-0=9@-1''", "3 fetch NONE t-0=5@-1''");
}
