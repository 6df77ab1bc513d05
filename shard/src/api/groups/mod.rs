//! The group APIs: what is asked of whom, and the answers. Not the rules, which are the engine's.
//!
//! `member`: the life of a member (JoinGroup, SyncGroup, Heartbeat, LeaveGroup). `offsets`: OffsetCommit, OffsetFetch,
//! OffsetDelete. `admin`: FindCoordinator, ListGroups, DescribeGroups, DeleteGroups.
//!
//! A group's requests go to the core that owns its partition of `__consumer_offsets`. While that topic is not there, no
//! group is, and a question that would go there is answered here as if by a coordinator that is not available: clients
//! then look for the coordinator, and FindCoordinator makes the topic.

mod admin;
mod member;
mod offsets;
#[cfg(test)]
mod tests;

use super::brokers::Broker;
use super::{Answer, Context, Question, Step, Target, group_partition, owner};
use ringlog_engine::ErrorCode;
use ringlog_engine::group;
use ringlog_engine::metadata::OFFSETS_TOPIC;
use ringlog_engine::types::{CoreId, PartitionKey, TopicId};
use ringlog_net::cold::{self, Request, StrBytes};

/// What is kept of a request while others are asked.
#[derive(Debug)]
pub enum Kept {
    FindCoordinator { keys: Vec<StrBytes> },
    JoinGroup { member_id: String },
    SyncGroup,
    Heartbeat,
    LeaveGroup,
    OffsetCommit(Vec<offsets::Laid>),
    OffsetFetch(Vec<offsets::AskedGroup>),
    OffsetDelete(Vec<offsets::Laid>),
    ListGroups,
    DescribeGroups { spread: admin::Spread, with_operations: bool },
    DeleteGroups(admin::Spread),
}

pub fn begin(context: &Context<'_>, request: Request, version: i16, correlation_id: i32, out: &mut Vec<u8>) -> Step {
    let home = Home::of(context);
    let (ask, kept) = match request {
        Request::FindCoordinator(request) => admin::find_coordinator(&home, request),
        Request::JoinGroup(request) => member::join(context, &home, request, version),
        Request::SyncGroup(request) => member::sync(&home, request, version),
        Request::Heartbeat(request) => member::heartbeat(&home, request),
        Request::LeaveGroup(request) => member::leave(&home, request),
        Request::OffsetCommit(request) => offsets::commit(context, &home, request, version),
        Request::OffsetFetch(request) => offsets::fetch(context, &home, request, version),
        Request::OffsetDelete(request) => offsets::delete(context, &home, request),
        Request::ListGroups(request) => admin::list(context, &home, request),
        Request::DescribeGroups(request) => admin::describe(&home, request),
        Request::DeleteGroups(request) => admin::delete(&home, request),
        other => panic!("{:?} is not a group API", other.key()),
    };
    match ask {
        Ask::Others(questions) => Step::Ask { questions, kept: super::Kept::Groups(kept) },
        Ask::Nobody(answers) => {
            finish(context, kept, answers, version, correlation_id, out);
            Step::Done
        }
    }
}

pub fn finish(
    context: &Context<'_>,
    kept: Kept,
    answers: Vec<Answer>,
    version: i16,
    correlation_id: i32,
    out: &mut Vec<u8>,
) {
    let mut reply = Reply { context, out, version, correlation_id };
    match kept {
        Kept::FindCoordinator { keys } => reply.send(admin::found(context, &Home::of(context), keys, only(answers))),
        Kept::JoinGroup { member_id } => reply.send(member::joined(only(answers), member_id, version)),
        Kept::SyncGroup => reply.send(member::synced(only(answers))),
        Kept::Heartbeat => reply.send(member::heard(only(answers))),
        Kept::LeaveGroup => reply.send(member::left(only(answers))),
        Kept::OffsetCommit(laid) => reply.send(offsets::committed(laid, only(answers))),
        Kept::OffsetFetch(asked) => reply.send(offsets::fetched(context, asked, answers, version)),
        Kept::OffsetDelete(laid) => reply.send(offsets::deleted(laid, only(answers))),
        Kept::ListGroups => reply.send(admin::listed(answers)),
        Kept::DescribeGroups { spread, with_operations } => {
            reply.send(admin::described(spread, with_operations, answers, version));
        }
        Kept::DeleteGroups(spread) => reply.send(admin::deleted(spread, answers)),
    }
}

/// Where a response goes.
struct Reply<'a> {
    context: &'a Context<'a>,
    out: &'a mut Vec<u8>,
    version: i16,
    correlation_id: i32,
}

impl Reply<'_> {
    fn send(&mut self, answer: impl cold::Answer) {
        super::answer(self.context, self.out, self.version, self.correlation_id, answer);
    }
}

/// Whether others are to be asked, or what they would say is known.
enum Ask {
    Others(Vec<(Target, Question)>),
    Nobody(Vec<Answer>),
}

impl Ask {
    fn refused(error: ErrorCode) -> Ask {
        Ask::Nobody(vec![Answer::Refused(error)])
    }
}

/// Where groups are kept, if `__consumer_offsets` is there.
struct Home(Option<Offsets>);

struct Offsets {
    topic: TopicId,
    partitions: i32,
    cores: u16,
}

impl Home {
    fn of(context: &Context<'_>) -> Home {
        let topic = context.image.topic(OFFSETS_TOPIC);
        Home(topic.map(|topic| Offsets {
            topic: topic.id,
            partitions: topic.partitions.len() as i32,
            cores: context.cores,
        }))
    }

    /// The broker to ask about a group.
    fn coordinator<'a>(&self, context: &Context<'a>, group: &str) -> Broker<'a> {
        match &self.0 {
            Some(offsets) => {
                context.leader(PartitionKey { topic: offsets.topic, partition: offsets.partition_of(group) })
            }
            None => context.broker(CoreId(0)),
        }
    }

    /// One question for one group's coordinator.
    fn ask(&self, group: &str, request: group::Request) -> Ask {
        match &self.0 {
            Some(offsets) => Ask::Others(vec![offsets.question(offsets.partition_of(group), request)]),
            None => Ask::refused(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// The same, of an API that needs a group's name: Kafka's oldest ones do without.
    fn ask_named(&self, group: &str, request: group::Request) -> Ask {
        if group.is_empty() { Ask::refused(ErrorCode::InvalidGroupId) } else { self.ask(group, request) }
    }
}

impl Offsets {
    fn partition_of(&self, group: &str) -> i32 {
        group_partition(group, self.partitions)
    }

    fn question(&self, partition: i32, request: group::Request) -> (Target, Question) {
        let core = owner(PartitionKey { topic: self.topic, partition }, self.cores);
        (Target::Core(core), Question::Group { partition, request })
    }
}

/// The answer to the one question asked.
fn only(mut answers: Vec<Answer>) -> Answer {
    assert_eq!(answers.len(), 1, "answers to one question");
    answers.remove(0)
}

/// What a coordinator said to a question of this kind, or why there was none to ask. Another kind is a bug.
macro_rules! said {
    ($answer:expr, $kind:ident) => {
        match $answer {
            $crate::api::Answer::Group(ringlog_engine::group::Response::$kind(said)) => Ok(said),
            $crate::api::Answer::Refused(error) => Err(error),
            other => panic!("{other:?}, asked for {}", stringify!($kind)),
        }
    };
}
use said;

fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

fn nullable_text(text: Option<String>) -> Option<StrBytes> {
    text.map(StrBytes::from_string)
}

fn nullable_string(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}
