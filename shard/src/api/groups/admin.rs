//! Finding and looking after groups: FindCoordinator, ListGroups, DescribeGroups, DeleteGroups. Translation only.

use super::{Ask, Home, Kept, nullable_text, said, text};
use crate::api::{Answer, Command, Context, Outcome, Question, Target};
use ringlog_engine::ErrorCode;
use ringlog_engine::group;
use ringlog_engine::metadata::OFFSETS_TOPIC;
use ringlog_net::cold::StrBytes;
use ringlog_net::cold::messages::delete_groups_response::DeletableGroupResult;
use ringlog_net::cold::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use ringlog_net::cold::messages::find_coordinator_response::Coordinator;
use ringlog_net::cold::messages::list_groups_response::ListedGroup;
use ringlog_net::cold::messages::{
    BrokerId, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, ListGroupsRequest, ListGroupsResponse,
};
use std::collections::{BTreeMap, HashSet};

/// Key types of FindCoordinator.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// From this version on, DescribeGroups says of an absent group that it was not found (KIP-1043).
const NOT_FOUND_TOLD: i16 = 6;

/// All that may be done to a group: read (3), delete (6), describe (8), describe and alter its settings (10, 11).
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Looking for a group makes `__consumer_offsets`. A transaction's coordinator is refused with the code that ends a
/// producer at once; one that clients retry would keep them asking for ever.
pub(super) fn find_coordinator(home: &Home, request: FindCoordinatorRequest) -> (Ask, Kept) {
    let keys = request.coordinator_keys;
    let ask = match request.key_type {
        GROUP if home.0.is_none() && !keys.is_empty() => {
            let command = Command::EnsureTopics(vec![OFFSETS_TOPIC.to_string()]);
            Ask::Others(vec![(Target::Controller, Question::Control(command))])
        }
        GROUP => Ask::Nobody(vec![Answer::Control(Outcome::Created(Vec::new()))]),
        TRANSACTION => Ask::refused(ErrorCode::TransactionalIdAuthorizationFailed),
        _ => Ask::refused(ErrorCode::InvalidRequest),
    };
    (ask, Kept::FindCoordinator { keys })
}

/// A group's coordinator is the broker of its partition of `__consumer_offsets`.
pub(super) fn found(
    context: &Context<'_>,
    home: &Home,
    keys: Vec<StrBytes>,
    answer: Answer,
) -> FindCoordinatorResponse {
    let (error, why) = match answer {
        Answer::Control(Outcome::Created(made)) if made.iter().all(Result::is_ok) => (ErrorCode::None, None),
        Answer::Refused(error @ ErrorCode::TransactionalIdAuthorizationFailed) => {
            (error, Some("Transactions are not supported by this broker."))
        }
        Answer::Refused(error @ ErrorCode::InvalidRequest) => {
            (error, Some("Only the coordinators of consumer groups can be found here."))
        }
        Answer::Control(Outcome::Created(_)) | Answer::Refused(_) => {
            (ErrorCode::CoordinatorNotAvailable, Some("The coordinator is not available."))
        }
        other => panic!("{other:?}, asked to make {OFFSETS_TOPIC}"),
    };
    let coordinators = keys.into_iter().map(|key| {
        let broker = home.coordinator(context, &key);
        let this = Coordinator::default()
            .with_key(key)
            .with_error_code(error.code())
            .with_error_message(why.map(StrBytes::from_static_str));
        if error.is_ok() {
            this.with_node_id(broker.id).with_host(text(broker.host.to_string())).with_port(broker.port)
        } else {
            this.with_node_id(BrokerId(-1)).with_port(-1)
        }
    });
    FindCoordinatorResponse::default().with_error_message(None).with_coordinators(coordinators.collect())
}

pub(super) fn list(context: &Context<'_>, home: &Home, request: ListGroupsRequest) -> (Ask, Kept) {
    if home.0.is_none() {
        return (Ask::Nobody(Vec::new()), Kept::ListGroups);
    }
    let owned = |texts: Vec<StrBytes>| texts.iter().map(|text| text.to_string()).collect();
    let asked = group::ListGroupsRequest { states: owned(request.states_filter), types: owned(request.types_filter) };
    let questions = context.own_cores().map(|core| (Target::Core(core), Question::AllGroups(asked.clone())));
    (Ask::Others(questions.collect()), Kept::ListGroups)
}

/// One core that cannot say makes the list's error; what the others said is in it all the same.
pub(super) fn listed(answers: Vec<Answer>) -> ListGroupsResponse {
    let (mut error, mut groups) = (ErrorCode::None, Vec::new());
    for answer in answers {
        match answer {
            Answer::AllGroups(more) => groups.extend(more.into_iter().map(|listed| {
                ListedGroup::default()
                    .with_group_id(GroupId(text(listed.group_id)))
                    .with_protocol_type(text(listed.protocol_type))
                    .with_group_state(StrBytes::from_static_str(listed.state))
                    .with_group_type(StrBytes::from_static_str(listed.group_type))
            })),
            Answer::Refused(refusal) => error = refusal,
            other => panic!("{other:?}, asked for all groups"),
        }
    }
    ListGroupsResponse::default().with_error_code(error.code()).with_groups(groups)
}

/// Distinct groups in the order of the request, each with the number of the question it is part of.
#[derive(Debug)]
pub struct Spread(Vec<(String, usize)>);

/// One question per coordinator: its partition and groups. While there are no coordinators, all groups make one.
fn spread(home: &Home, names: Vec<GroupId>) -> (Spread, Vec<(i32, Vec<String>)>) {
    let (mut numbers, mut questions) = (BTreeMap::new(), Vec::<(i32, Vec<String>)>::new());
    let (mut seen, mut groups) = (HashSet::new(), Vec::new());
    for name in names {
        if !seen.insert(name.clone()) {
            continue;
        }
        let partition = home.0.as_ref().map_or(0, |offsets| offsets.partition_of(&name));
        let number = *numbers.entry(partition).or_insert_with(|| {
            questions.push((partition, Vec::new()));
            questions.len() - 1
        });
        questions[number].1.push(name.to_string());
        groups.push((name.to_string(), number));
    }
    (Spread(groups), questions)
}

/// Asks each coordinator. While there are none, one answer is known.
fn ask_each(
    home: &Home,
    questions: Vec<(i32, Vec<String>)>,
    request: fn(Vec<String>) -> group::Request,
    otherwise: Answer,
) -> Ask {
    match &home.0 {
        _ if questions.is_empty() => Ask::Nobody(Vec::new()),
        None => Ask::Nobody(vec![otherwise]),
        Some(offsets) => {
            let asked = questions.into_iter().map(|(partition, groups)| offsets.question(partition, request(groups)));
            Ask::Others(asked.collect())
        }
    }
}

pub(super) fn describe(home: &Home, request: DescribeGroupsRequest) -> (Ask, Kept) {
    let (spread, questions) = spread(home, request.groups);
    let none = Answer::Group(group::Response::DescribeGroups(Vec::new()));
    let asked = |groups| group::Request::DescribeGroups(group::DescribeGroupsRequest { groups });
    let kept = Kept::DescribeGroups { spread, with_operations: request.include_authorized_operations };
    (ask_each(home, questions, asked, none), kept)
}

/// A group that no coordinator speaks of is not there.
pub(super) fn described(
    spread: Spread,
    with_operations: bool,
    answers: Vec<Answer>,
    version: i16,
) -> DescribeGroupsResponse {
    let said = answers.into_iter().map(|answer| {
        let said = said!(answer, DescribeGroups);
        said.map(|groups| groups.into_iter().map(|group| (group.group_id.clone(), group)).collect())
    });
    let mut said: Vec<Result<BTreeMap<String, group::DescribedGroup>, ErrorCode>> = said.collect();
    let groups = spread.0.into_iter().map(|(name, number)| {
        let said = said[number].as_mut().map(|groups| groups.remove(&name));
        let mut group = match said {
            Err(error) => DescribedGroup::default().with_error_code(error.code()),
            Ok(Some(group)) if !group.error.is_ok() => DescribedGroup::default().with_error_code(group.error.code()),
            Ok(Some(group)) if group.found => state_of(group),
            Ok(_) => dead(&name, version),
        };
        if with_operations && group.error_code == 0 {
            group.authorized_operations = GROUP_OPERATIONS;
        }
        group.with_group_id(GroupId(text(name)))
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

/// A group that is not there.
fn dead(name: &str, version: i16) -> DescribedGroup {
    let group = DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead"));
    if version < NOT_FOUND_TOLD {
        return group;
    }
    let why = text(format!("Group {name} not found."));
    group.with_error_code(ErrorCode::GroupIdNotFound.code()).with_error_message(Some(why))
}

fn state_of(group: group::DescribedGroup) -> DescribedGroup {
    let members = group.members.into_iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(nullable_text(member.group_instance_id))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(group.state))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol))
        .with_members(members.collect())
}

pub(super) fn delete(home: &Home, request: DeleteGroupsRequest) -> (Ask, Kept) {
    let (spread, questions) = spread(home, request.groups_names);
    let asked = |groups| group::Request::DeleteGroups(group::DeleteGroupsRequest { groups });
    let ask = ask_each(home, questions, asked, Answer::Refused(ErrorCode::CoordinatorNotAvailable));
    (ask, Kept::DeleteGroups(spread))
}

pub(super) fn deleted(spread: Spread, answers: Vec<Answer>) -> DeleteGroupsResponse {
    let said = answers.into_iter().map(|answer| {
        let said = said!(answer, DeleteGroups);
        said.map(|results| results.into_iter().collect())
    });
    let said: Vec<Result<BTreeMap<String, ErrorCode>, ErrorCode>> = said.collect();
    let results = spread.0.into_iter().map(|(name, number)| {
        let error = match &said[number] {
            Ok(results) => *results.get(&name).unwrap_or_else(|| panic!("no answer for group {name}")),
            Err(error) => *error,
        };
        DeletableGroupResult::default().with_group_id(GroupId(text(name))).with_error_code(error.code())
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
