//! Requests about many partitions: each goes to the core that owns it, and the answers go back to their places in the
//! request. Not what is asked or answered.

use super::{Answer, Context, Question, Target, owner};
use ringlog_engine::ErrorCode;
use ringlog_engine::types::PartitionKey;
use ringlog_net::cold::messages::TopicName;
use std::collections::BTreeMap;

/// The partitions of a request in its order, with a result each where there is one already.
#[derive(Debug)]
pub struct Spread<R> {
    topics: Vec<(TopicName, Vec<i32>)>,
    results: Vec<Option<R>>,
    /// Which results each question's answer fills, in the order of the questions.
    places: Vec<Vec<usize>>,
}

/// A [`Spread`] that is being filled: questions of type `A` by core.
pub(super) struct Spreading<A, R> {
    spread: Spread<R>,
    cores: BTreeMap<u16, (Vec<usize>, Vec<A>)>,
}

/// What becomes of one partition: asked, or answered at once.
pub(super) enum Fate<A, R> {
    Ask(PartitionKey, A),
    Known(R),
}

impl<A, R> Spreading<A, R> {
    pub(super) fn new() -> Spreading<A, R> {
        let spread = Spread { topics: Vec::new(), results: Vec::new(), places: Vec::new() };
        Spreading { spread, cores: BTreeMap::new() }
    }

    pub(super) fn topic(&mut self, name: TopicName) {
        self.spread.topics.push((name, Vec::new()));
    }

    /// A partition of the topic named last.
    pub(super) fn partition(&mut self, context: &Context<'_>, index: i32, fate: Fate<A, R>) {
        let place = self.spread.results.len();
        let (_, indexes) = self.spread.topics.last_mut().expect("a topic is named before its partitions");
        indexes.push(index);
        let result = match fate {
            Fate::Known(result) => Some(result),
            Fate::Ask(key, ask) => {
                let (places, asks) = self.cores.entry(owner(key, context.cores).0).or_default();
                places.push(place);
                asks.push(ask);
                None
            }
        };
        self.spread.results.push(result);
    }

    /// The questions, none if everything is answered; and what to keep until their answers are there.
    pub(super) fn questions(mut self, question: fn(Vec<A>) -> Question) -> (Vec<(Target, Question)>, Spread<R>) {
        let mut questions = Vec::new();
        for (core, (places, asks)) in self.cores {
            self.spread.places.push(places);
            questions.push((Target::Core(ringlog_engine::types::CoreId(core)), question(asks)));
        }
        (questions, self.spread)
    }
}

impl<R> Spread<R> {
    /// Every topic and partition of the request with its result. `refused` is the result where a core refuses a question.
    pub(super) fn gather(
        mut self,
        answers: Vec<Answer>,
        take: impl Fn(Answer) -> Option<Vec<R>>,
        refused: impl Fn(ErrorCode) -> R,
    ) -> impl Iterator<Item = (TopicName, Vec<(i32, R)>)> {
        assert_eq!(answers.len(), self.places.len(), "every question is answered");
        for (places, answer) in self.places.into_iter().zip(answers) {
            let results = match answer {
                Answer::Refused(code) => places.iter().map(|_| refused(code)).collect(),
                answer => take(answer).unwrap_or_else(|| panic!("a core answered another question")),
            };
            assert_eq!(results.len(), places.len(), "every partition asked about is answered");
            for (place, result) in places.into_iter().zip(results) {
                self.results[place] = Some(result);
            }
        }
        let mut results = self.results.into_iter().map(|result| result.expect("every partition has a result"));
        self.topics.into_iter().map(move |(name, indexes)| {
            let partitions = indexes.into_iter().map(|index| (index, results.next().expect("one each"))).collect();
            (name, partitions)
        })
    }
}

/// The partition of this name and number, if there is one.
pub(super) fn find(context: &Context<'_>, topic: &str, partition: i32) -> Option<PartitionKey> {
    let topic = context.image.topic(topic)?;
    usize::try_from(partition).ok().filter(|at| *at < topic.partitions.len())?;
    Some(PartitionKey { topic: topic.id, partition })
}
