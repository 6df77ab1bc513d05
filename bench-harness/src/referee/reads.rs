//! Answers about a partition, judged as they come: acknowledgements, records that readers got, and marks.

use super::history::{Call, Found, Isolation, Outcome, Spec};
use super::judge::Judge;
use super::log::{Hole, Lookup, Mark, Marks, Slot};
use super::rule::Rule;
use super::sends::{Fate, Lives};
use super::verdict::Span;

/// An answer of a partition, and when it came.
#[derive(Clone, Copy)]
struct Answer<'a> {
    log: u32,
    marks: &'a Marks,
    span: Span,
    lives: Lives,
    /// Nothing it tells may be taken back: no crash came between, or the topic is flushed.
    firm: bool,
    is_final: bool,
    /// The reader wants committed records only.
    committed: bool,
}

/// What a fetch told.
struct Fetched<'a> {
    offset: i64,
    high: i64,
    start: i64,
    stable: i64,
    records: &'a [Found],
    next: i64,
}

impl Judge {
    /// The outcome of a batch.
    pub(super) fn produced(&mut self, index: u32, span: Span, lives: Lives, outcome: &Outcome) {
        let topic = self.logs[self.sends.batches[index as usize].log as usize].topic;
        let batch = &mut self.sends.batches[index as usize];
        batch.span = span;
        batch.lives = lives;
        batch.stale |= self.topics.all[topic].deletion.is_some();
        batch.fate = match outcome {
            Outcome::Produced { base_offset, .. } => Fate::Acknowledged(*base_offset),
            Outcome::Done => Fate::Acknowledged(-1),
            Outcome::Refused { .. } => Fate::Refused,
            _ => return,
        };
        let batch = batch.clone();
        let Fate::Acknowledged(base) = batch.fate else { return };
        self.report.verdict.counts.acknowledged += u64::from(batch.count);
        if batch.stale || batch.acks == 0 {
            return;
        }
        let durable = batch.acks == -1 && self.topics.all[topic].is_durable(span.call);
        self.sends.batches[index as usize].durable = durable;
        if base < 0 {
            return;
        }
        let (relaxed, count) = (self.topics.all[topic].ever_relaxed, i64::from(batch.count));
        if batch.lives.first == self.life && base < batch.floor.0 {
            let name = self.logs[batch.log as usize].name();
            self.report.add(Rule::RealTimeOrder, &[batch.floor.1, span], || {
                format!("{name}: a batch was acknowledged at offset {base}, although the log had reached {} before it was sent", batch.floor.0)
            });
        }
        let told = match outcome {
            Outcome::Produced { log_append_time: Some(time), .. } => Some(*time),
            _ if self.topics.all[topic].ever_append_time || !self.topics.all[topic].known => Some(i64::MIN),
            _ => None,
        };
        for place in 0..batch.count {
            let record = batch.first + place;
            let timestamp = told.unwrap_or(self.sends.records[record as usize].timestamp);
            let slot =
                Slot { record, timestamp, leader_epoch: -1, seen: false, durable, in_final: false, lives, by: span };
            self.put(batch.log, base.saturating_add(i64::from(place)), slot);
        }
        let log = &mut self.logs[batch.log as usize];
        if lives.first == self.life || (durable && !relaxed) {
            let marks = log.marks.in_life(self.life, relaxed);
            marks.end.raise(base.saturating_add(count), span);
            if batch.acks == -1 {
                marks.high.raise(base.saturating_add(count), span);
            }
        }
    }

    /// Something is at an offset. It must not contradict what was said of it before.
    fn put(&mut self, log: u32, offset: i64, new: Slot) {
        let Some(old) = self.logs[log as usize].slots.get(&offset).copied() else {
            self.logs[log as usize].slots.insert(offset, new);
            return;
        };
        if old.record == new.record {
            let slot = self.logs[log as usize].slots.get_mut(&offset).expect("it was there");
            slot.durable |= new.durable;
            slot.in_final |= new.in_final;
            slot.lives = new.lives;
            if new.seen {
                slot.leader_epoch = new.leader_epoch;
                slot.timestamp = new.timestamp;
                slot.seen = true;
            }
            return;
        }
        // What a crash may have taken may be another record before it, but never behind what stays.
        let wrong = match (old.durable, new.durable) {
            (true, true) => true,
            (true, false) => new.lives.first >= old.lives.last,
            (false, true) => old.lives.first >= new.lives.last,
            (false, false) => old.lives.surely_with(new.lives),
        };
        if wrong {
            let rule = if old.seen || new.seen { Rule::OffsetDisagrees } else { Rule::OffsetTwice };
            let (name, sends) = (self.logs[log as usize].name(), &self.sends);
            let spans = [old.by, new.by, sends.batch_of(old.record).span, sends.batch_of(new.record).span];
            let said = |slot: &Slot| if slot.seen { "was read" } else { "was acknowledged" };
            let (a, b) = (sends.records[old.record as usize].value, sends.records[new.record as usize].value);
            self.report.add(rule, &spans, || {
                format!("{name}: at offset {offset} value {a} {} and value {b} {}", said(&old), said(&new))
            });
        }
        if new.durable || !old.durable {
            self.logs[log as usize].slots.insert(offset, new);
        }
    }

    /// An answer to a call about one partition.
    pub(super) fn told(&mut self, log: u32, call: &Call, marks: &Marks, span: Span, lives: Lives, outcome: &Outcome) {
        let topic = &self.topics.all[self.logs[log as usize].topic];
        // The name may have been another topic's already.
        let stale = topic.deletion.is_some();
        let firm = !topic.ever_relaxed || lives.first == lives.last;
        let is_final = self.final_reads.is_some_and(|at| at < span.call);
        let committed = matches!(
            call,
            Call::Fetch { isolation: Isolation::Committed, .. }
                | Call::ListOffsets { isolation: Isolation::Committed, .. }
        );
        let answer = Answer { log, marks, span, lives, firm, is_final, committed };
        match (call, outcome) {
            (
                Call::Fetch { offset, .. },
                Outcome::Fetched { high_watermark, log_start, last_stable, records, next },
            ) => {
                let (high, start, stable) = (*high_watermark, *log_start, *last_stable);
                let fetched = Fetched { offset: *offset, high, start, stable, records, next: *next };
                self.fetched(answer, &fetched, stale);
            }
            (Call::ListOffsets { spec, .. }, Outcome::Offset { offset, timestamp }) if !stale => {
                self.listed(answer, *spec, *offset, *timestamp);
            }
            (Call::DeleteRecords { .. }, Outcome::Refused { .. }) => {
                self.logs[log as usize].deletions.retain(|(of, _)| of.call != span.call);
            }
            (Call::DeleteRecords { before, .. }, Outcome::LowWatermark { offset }) if !stale => {
                let low = *offset;
                let deletions = &mut self.logs[log as usize].deletions;
                if let Some((of, _)) = deletions.iter_mut().rev().find(|(of, _)| of.call == span.call) {
                    of.ret = span.ret;
                }
                if low < *before {
                    let name = self.logs[log as usize].name();
                    self.report.add(Rule::LogStartBack, &[span], || {
                        format!("{name}: records before {before} were deleted, and the log is said to begin at {low}")
                    });
                }
                self.start_told(answer, low);
            }
            _ => {}
        }
    }

    fn fetched(&mut self, answer: Answer<'_>, fetched: &Fetched<'_>, stale: bool) {
        self.report.verdict.counts.read += fetched.records.len() as u64;
        if stale {
            return;
        }
        if fetched.high >= 0 {
            self.high_told(answer, fetched.high);
        }
        if fetched.start >= 0 {
            if fetched.high >= 0 && fetched.start > fetched.high {
                let name = self.logs[answer.log as usize].name();
                self.report.add(Rule::Retention, &[answer.span], || {
                    format!("{name}: the log begins at {}, behind its high watermark {}", fetched.start, fetched.high)
                });
            }
            self.start_told(answer, fetched.start);
        }
        if fetched.stable >= 0 {
            self.stable_told(answer, fetched.stable, fetched.high);
        }
        self.past_marks(answer, fetched);
        let mut expected = fetched.offset;
        let mut epoch = (-1, 0);
        for found in fetched.records {
            // A batch that begins before the offset asked for comes as a whole.
            if found.offset > expected {
                self.hole(answer, expected, found.offset);
            }
            if found.offset < expected && found.offset >= fetched.offset {
                self.unordered(answer, found, expected);
            }
            expected = expected.max(found.offset.saturating_add(1));
            if found.leader_epoch < epoch.0 && found.leader_epoch >= 0 {
                let name = self.logs[answer.log as usize].name();
                self.report.add(Rule::LeaderEpoch, &[answer.span], || {
                    format!(
                        "{name}: offset {} has leader epoch {}, the lower offset {} has {}",
                        found.offset, found.leader_epoch, epoch.1, epoch.0
                    )
                });
            }
            epoch = (found.leader_epoch, found.offset);
            self.found(answer, found);
        }
        if fetched.next > expected {
            self.hole(answer, expected, fetched.next);
        }
        let log = &mut self.logs[answer.log as usize];
        if answer.committed && answer.firm && fetched.next > fetched.offset {
            // It goes no further than the last stable offset.
            let relaxed = self.topics.all[log.topic].ever_relaxed;
            log.marks.in_life(self.life, relaxed).stable.raise(fetched.next, answer.span);
        }
        if answer.is_final {
            log.read_back(fetched.offset, fetched.next);
            if fetched.next >= fetched.high && fetched.high >= 0 {
                log.final_end = Some(Mark { at: fetched.high, by: answer.span });
            }
        }
    }

    fn hole(&mut self, answer: Answer<'_>, from: i64, to: i64) {
        let hole = Hole { from, to, by: answer.span, lives: answer.lives };
        self.logs[answer.log as usize].holes.push(hole);
    }

    fn unordered(&mut self, answer: Answer<'_>, found: &Found, expected: i64) {
        let name = self.logs[answer.log as usize].name();
        self.report.add(Rule::OffsetDisagrees, &[answer.span], || {
            format!("{name}: one answer has offset {} behind offset {}", found.offset, expected - 1)
        });
    }

    /// Records at or behind a mark of their own answer.
    fn past_marks(&mut self, answer: Answer<'_>, fetched: &Fetched<'_>) {
        let limit = if answer.committed && fetched.stable >= 0 { fetched.stable } else { fetched.high };
        let behind = fetched.records.iter().map(|found| found.offset).max().filter(|offset| *offset >= limit);
        if let (true, Some(offset)) = (limit >= 0, behind) {
            let name = self.logs[answer.log as usize].name();
            self.report.add(Rule::PastMark, &[answer.span], || {
                format!(
                    "{name}: offset {offset} was read, and the answer itself says that readers may go up to {limit}"
                )
            });
        }
    }

    /// A reader got a record.
    fn found(&mut self, answer: Answer<'_>, found: &Found) {
        let name = |judge: &Judge| judge.logs[answer.log as usize].name();
        let offset = found.offset;
        let Some(value) = found.value else {
            let name = name(self);
            self.report.add(Rule::Damaged, &[answer.span], || {
                format!("{name}: what was read at offset {offset} are not the bytes that somebody sent")
            });
            return;
        };
        let Some(record) = self.sends.find(value) else {
            let name = name(self);
            self.report.add(Rule::Invented, &[answer.span], || {
                format!("{name}: value {value} was read at offset {offset}, and nobody has sent it")
            });
            return;
        };
        if !self.is_of(answer, record, offset) {
            return;
        }
        let batch = self.sends.batch_of(record).clone();
        if batch.fate == Fate::Refused {
            let name = name(self);
            self.report.add(Rule::RefusedRead, &[batch.span, answer.span], || {
                format!("{name}: value {value} was refused, and was read at offset {offset}")
            });
        }
        if let (true, Some(transaction)) = (answer.committed, batch.transaction) {
            self.transactions.seen(transaction, answer.span, value);
        }
        let start = answer.marks.start;
        if answer.firm && offset < start.at {
            let name = name(self);
            self.report.add(Rule::LogStartBack, &[start.by, answer.span], || {
                format!("{name}: offset {offset} was read after the log was said to begin at {}", start.at)
            });
        }
        self.placed(answer, record, found);
        let topic = &self.topics.all[self.logs[answer.log as usize].topic];
        let durable = topic.is_durable(batch.span.call);
        if topic.known && !topic.ever_append_time {
            self.same_time(answer, record, found);
        }
        let slot = Slot {
            record,
            timestamp: found.timestamp,
            leader_epoch: found.leader_epoch,
            seen: true,
            durable,
            in_final: answer.is_final,
            lives: answer.lives,
            by: answer.span,
        };
        self.put(answer.log, offset, slot);
    }

    /// Whether a record that was found in a log was sent to it, or may have come to it.
    fn is_of(&mut self, answer: Answer<'_>, record: u32, offset: i64) -> bool {
        let batch = self.sends.batch_of(record);
        if batch.log == answer.log {
            return true;
        }
        let (here, there) = (&self.logs[answer.log as usize], &self.logs[batch.log as usize]);
        let (span, value) = (batch.span, self.sends.records[record as usize].value);
        let spans = [span, answer.span];
        let (name, other) = (here.name(), there.name());
        let same =
            here.partition.topic == there.partition.topic && here.partition.partition == there.partition.partition;
        if !same {
            self.report.add(Rule::Misrouted, &spans, || {
                format!("{name}: value {value} was read at offset {offset}; it was sent to {other}")
            });
            return false;
        }
        let deletion = self.topics.all[there.topic].deletion;
        let went_with_it = batch.acknowledged().is_some()
            && deletion.is_some_and(|of| span.ret < of.call && of.ret < answer.span.call);
        if here.partition.incarnation > there.partition.incarnation && !went_with_it && deletion.is_some() {
            // It was on its way while its topic was deleted: it came to the one that has the name now.
            let index = self.sends.records[record as usize].batch;
            let batch = &mut self.sends.batches[index as usize];
            (batch.log, batch.stale, batch.durable) = (answer.log, true, false);
            self.logs[answer.log as usize].batches.push(index);
            return true;
        }
        self.report.add(Rule::Incarnation, &spans, || {
            format!("{name}: value {value} was read at offset {offset}; it was sent to {other}")
        });
        false
    }

    /// Where a record was found, against where it was found or acknowledged before.
    fn placed(&mut self, answer: Answer<'_>, record: u32, found: &Found) {
        let (base, index) =
            (found.offset.saturating_sub(self.sends.place(record)), self.sends.records[record as usize].batch);
        let batch = self.sends.batch_of(record).clone();
        let (name, value) = (self.logs[answer.log as usize].name(), self.sends.records[record as usize].value);
        let durable = self.topics.all[self.logs[answer.log as usize].topic].is_durable(batch.span.call);
        let told = batch.acknowledged().filter(|told| *told >= 0 && *told != base && !batch.stale);
        if let (true, Some(told)) = (batch.once(), told)
            && (durable && batch.durable || answer.lives.first >= batch.lives.last)
        {
            let told = told.saturating_add(self.sends.place(record));
            self.report.add(Rule::OffsetDisagrees, &[batch.span, answer.span], || {
                format!("{name}: value {value} was acknowledged at offset {told} and read at {}", found.offset)
            });
        }
        if let (true, Some(seen)) = (batch.once(), batch.seen_base.filter(|seen| *seen != base)) {
            let earlier = seen.saturating_add(self.sends.place(record));
            let other = self.logs[answer.log as usize].slots.get(&earlier).filter(|slot| slot.record == record);
            let there = other.is_some_and(|slot| slot.durable || slot.lives.surely_with(answer.lives));
            if there || durable {
                let spans = [batch.span, other.map_or(Span::NONE, |slot| slot.by), answer.span];
                self.report.add(Rule::Duplicate, &spans, || {
                    format!(
                        "{name}: value {value} of an idempotent producer is at offset {earlier} and at {}",
                        found.offset
                    )
                });
            }
        }
        self.sends.batches[index as usize].seen_base = Some(base);
    }

    fn same_time(&mut self, answer: Answer<'_>, record: u32, found: &Found) {
        let sent = self.sends.records[record as usize];
        if sent.timestamp != found.timestamp {
            let spans = [self.sends.batch_of(record).span, answer.span];
            let name = self.logs[answer.log as usize].name();
            self.report.add(Rule::Timestamp, &spans, || {
                format!(
                    "{name}: value {} at offset {} was sent with time {} and has {}",
                    sent.value, found.offset, sent.timestamp, found.timestamp
                )
            });
        }
    }

    fn high_told(&mut self, answer: Answer<'_>, high: i64) {
        let before = answer.marks.high;
        let log = &mut self.logs[answer.log as usize];
        let relaxed = self.topics.all[log.topic].ever_relaxed;
        if answer.firm && high < before.at {
            let name = log.name();
            self.report.add(Rule::HighWatermarkBack, &[before.by, answer.span], || {
                format!("{name}: the high watermark is {high}, and had reached {} before it was asked for", before.at)
            });
            return;
        }
        if answer.firm {
            let marks = log.marks.in_life(self.life, relaxed);
            marks.high.raise(high, answer.span);
            marks.end.raise(high, answer.span);
        }
        if answer.lives.first == answer.lives.last {
            log.vouch(self.life, high, answer.span);
        }
    }

    fn start_told(&mut self, answer: Answer<'_>, start: i64) {
        let before = answer.marks.start;
        let log = &mut self.logs[answer.log as usize];
        if answer.firm && start < before.at {
            let name = log.name();
            self.report.add(Rule::LogStartBack, &[before.by, answer.span], || {
                format!("{name}: the log begins at {start}, and began at {} before it was asked for", before.at)
            });
            return;
        }
        let wall = self.wall.latest_at(self.at);
        log.started_at(start, answer.span, wall);
        if answer.firm {
            let relaxed = self.topics.all[log.topic].ever_relaxed;
            log.marks.in_life(self.life, relaxed).start.raise(start, answer.span);
        }
    }

    fn stable_told(&mut self, answer: Answer<'_>, stable: i64, high: i64) {
        let before = answer.marks.stable;
        let log = &mut self.logs[answer.log as usize];
        let name = log.name();
        if high >= 0 && stable > high {
            self.report.add(Rule::LastStableBack, &[answer.span], || {
                format!("{name}: the last stable offset is {stable}, beyond the high watermark {high}")
            });
        }
        if answer.firm && stable < before.at {
            self.report.add(Rule::LastStableBack, &[before.by, answer.span], || {
                format!("{name}: the last stable offset is {stable}, and had reached {} before", before.at)
            });
        } else if answer.firm {
            let relaxed = self.topics.all[log.topic].ever_relaxed;
            log.marks.in_life(self.life, relaxed).stable.raise(stable, answer.span);
        }
    }

    fn listed(&mut self, answer: Answer<'_>, spec: Spec, offset: i64, timestamp: i64) {
        let committed = answer.committed;
        match spec {
            Spec::Earliest if offset >= 0 => self.start_told(answer, offset),
            Spec::Latest if offset >= 0 && committed => self.stable_told(answer, offset, -1),
            Spec::Latest if offset >= 0 => self.high_told(answer, offset),
            Spec::Earliest | Spec::Latest => {}
            Spec::MaxTimestamp | Spec::At(_) => {
                let high = if answer.firm { answer.marks.high.at } else { 0 };
                let by = answer.span;
                self.logs[answer.log as usize].lookups.push(Lookup { spec, committed, offset, timestamp, by, high });
            }
        }
    }
}
