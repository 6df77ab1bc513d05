//! Open loop: when each send is planned, and what it holds. Planned times follow from the rate alone, never from an answer.

use super::batch::Item;
use super::core::Shared;
use super::draw::{KeyDraw, Rng, partition_of};
use super::plan::Plan;
use super::writer::Writer;
use std::collections::VecDeque;

/// A producer and where it may write.
#[derive(Debug)]
pub(super) struct Producer {
    pub(super) id: u32,
    /// A writer and its partition, for each place in the order of the plan.
    pub(super) targets: Vec<(usize, usize)>,
    next: usize,
    topic: u32,
    rng: Rng,
}

impl Producer {
    pub(super) fn new(plan: &Plan, id: u32, targets: Vec<(usize, usize)>) -> Producer {
        Producer {
            id,
            targets,
            next: 0,
            topic: id % plan.topics.len() as u32,
            rng: Rng::new(plan.seed ^ u64::from(id)),
        }
    }

    /// The place of a key: its partition in the topic whose turn it is.
    fn target_of(&mut self, plan: &Plan, key: u64) -> (usize, usize) {
        self.topic = (self.topic + 1) % plan.topics.len() as u32;
        self.targets[(self.topic * plan.partitions() + partition_of(key, plan.partitions())) as usize]
    }
}

/// A batch that waits for more records.
#[derive(Debug)]
struct Lingering {
    until: u64,
    writer: usize,
    part: usize,
    /// When its first record was planned: another batch of the partition has another.
    since: u64,
}

/// The sends of one core's producers.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) producers: Vec<Producer>,
    keys: Option<KeyDraw>,
    /// None: nothing is planned.
    plan: Option<Planned>,
    lingering: VecDeque<Lingering>,
}

#[derive(Debug, Clone, Copy)]
struct Planned {
    from: u64,
    /// Nanoseconds between two sends of all producers of the run.
    gap: f64,
    /// The next is the `round`th of the producer `at`.
    round: u64,
    at: usize,
}

impl Schedule {
    pub(super) fn new(plan: &Plan, producers: Vec<Producer>) -> Schedule {
        Schedule { producers, keys: KeyDraw::new(&plan.workload.records.keys), plan: None, lingering: VecDeque::new() }
    }

    /// Sends are planned at this many records a second from a time on; None: no more are.
    pub(super) fn set(&mut self, plan: &Plan, pace: Option<(f64, u64)>) {
        let producers = &plan.workload.producers;
        let records = match producers.linger_us {
            0 => f64::from(producers.batch_records.max(1)) * f64::from(producers.partitions_per_request.max(1)),
            _ => 1.0,
        };
        let made = |(rate, from): (f64, u64)| Planned { from, gap: records * 1e9 / rate, round: 0, at: 0 };
        self.plan = pace.filter(|(rate, _)| *rate > 0.0 && !self.producers.is_empty()).map(made);
    }

    /// When the next send is planned.
    fn planned(&self, all: u64) -> Option<u64> {
        let plan = self.plan.as_ref()?;
        let number = plan.round * all + u64::from(self.producers[plan.at].id);
        Some(plan.from + (number as f64 * plan.gap) as u64)
    }

    /// When something is to be done next.
    pub(super) fn next(&self, all: u64) -> Option<u64> {
        let lingers = self.lingering.front().map(|l| l.until);
        [self.planned(all), lingers].into_iter().flatten().min()
    }

    /// Does all that is due: writers that were given something are appended to `touched`, perhaps more than once.
    pub(super) fn run(&mut self, shared: &mut Shared, writers: &mut [Writer], touched: &mut Vec<usize>) {
        let plan = shared.plan.clone();
        let (all, linger) = (u64::from(plan.producers()), plan.workload.producers.linger_us * 1000);
        while let Some(time) = self.planned(all).filter(|time| *time <= shared.now) {
            let planned = self.plan.as_mut().expect("a send is planned");
            let at = planned.at;
            planned.at = (at + 1) % self.producers.len();
            planned.round += u64::from(planned.at == 0);
            let producer = &mut self.producers[at];
            if linger > 0 {
                let (writer, part) = one(producer, &plan, self.keys.as_ref(), time, writers);
                let open = &mut writers[writer].parts[part];
                if open.open.len() == 1 {
                    open.since = time;
                    self.lingering.push_back(Lingering { until: time + linger, writer, part, since: time });
                }
                if open.open.len() >= plan.workload.producers.batch_records.max(1) as usize {
                    let batch = open.seal(part, time);
                    if self.keys.is_none() {
                        producer.next = (producer.next + 1) % producer.targets.len();
                    }
                    writers[writer].forming.push(batch);
                    writers[writer].shoot(shared);
                    touched.push(writer);
                }
            } else {
                match &self.keys {
                    None => alike(producer, &plan, time, writers, touched, shared),
                    Some(keys) => keyed(producer, &plan, keys, time, writers, touched, shared),
                }
            }
        }
        self.end_lingering(shared, &plan, writers, touched);
    }

    /// Batches that waited long enough go, up to as many together as one request may hold.
    fn end_lingering(&mut self, shared: &mut Shared, plan: &Plan, writers: &mut [Writer], touched: &mut Vec<usize>) {
        let each = plan.workload.producers.partitions_per_request.max(1) as usize;
        let mut formed = Vec::new();
        while self.lingering.front().is_some_and(|l| l.until <= shared.now)
            && let Some(due) = self.lingering.pop_front()
        {
            let writer = &mut writers[due.writer];
            let part = &mut writer.parts[due.part];
            if part.open.is_empty() || part.since != due.since {
                continue;
            }
            let batch = part.seal(due.part, due.until);
            writer.forming.push(batch);
            formed.push(due.writer);
            if writer.forming.len() >= each {
                writer.shoot(shared);
            }
            if self.keys.is_none() {
                let producer = self.producers.iter_mut().find(|p| p.targets[p.next] == (due.writer, due.part));
                producer.into_iter().for_each(|p| p.next = (p.next + 1) % p.targets.len());
            }
        }
        formed.iter().for_each(|writer| writers[*writer].shoot(shared));
        touched.append(&mut formed);
    }
}

/// Adds one record to the batch it belongs to.
fn one(
    producer: &mut Producer,
    plan: &Plan,
    keys: Option<&KeyDraw>,
    planned: u64,
    writers: &mut [Writer],
) -> (usize, usize) {
    let key = keys.map(|keys| keys.draw(&mut producer.rng));
    let (writer, part) = match key {
        None => producer.targets[producer.next],
        Some(key) => producer.target_of(plan, key),
    };
    writers[writer].parts[part].open.push(Item { planned, key });
    (writer, part)
}

/// A send of full batches for the partitions whose turn it is.
fn alike(
    producer: &mut Producer,
    plan: &Plan,
    planned: u64,
    writers: &mut [Writer],
    touched: &mut Vec<usize>,
    shared: &mut Shared,
) {
    let producers = &plan.workload.producers;
    let each = (producers.partitions_per_request.max(1) as usize).min(producer.targets.len());
    let from = touched.len();
    for _ in 0..each {
        let (writer, part) = producer.targets[producer.next];
        producer.next = (producer.next + 1) % producer.targets.len();
        let batch = writers[writer].parts[part].alike(part, producers.batch_records.max(1), planned);
        writers[writer].forming.push(batch);
        touched.push(writer);
    }
    touched[from..].iter().for_each(|writer| writers[*writer].shoot(shared));
}

/// A send of as many records as full batches hold, each where its key belongs.
fn keyed(
    producer: &mut Producer,
    plan: &Plan,
    keys: &KeyDraw,
    planned: u64,
    writers: &mut [Writer],
    touched: &mut Vec<usize>,
    shared: &mut Shared,
) {
    let producers = &plan.workload.producers;
    let from = touched.len();
    for _ in 0..producers.batch_records.max(1) * producers.partitions_per_request.max(1) {
        let (writer, _) = one(producer, plan, Some(keys), planned, writers);
        touched.push(writer);
    }
    for writer in &touched[from..] {
        writers[*writer].form_open(planned);
        writers[*writer].shoot(shared);
    }
}
