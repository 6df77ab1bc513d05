//! Everything but Produce and Fetch, as the connection's core runs it: decode, let the handler decide, ask around, answer.

use super::conn::Work;
use super::{Shard, Stop};
use crate::api::{self, Answer, Context, Kept, Question, Step, Target};
use crate::io::Io;
use crate::mail::{Mail, ReplyTo, SlotAddr};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::CoreId;
use ringlog_net::cold;
use ringlog_net::frame::RequestHeader;
use ringlog_net::refusal::Action;

/// A cold request that waits for answers.
#[derive(Debug)]
pub struct ColdSlot {
    version: i16,
    correlation_id: i32,
    client_id: String,
    kept: Option<Kept>,
    answers: Vec<Option<Answer>>,
    left: usize,
}

impl<I: Io> Shard<I> {
    pub(super) fn begin_cold(
        &mut self,
        k: u32,
        len: usize,
        header: &RequestHeader<'_>,
        body: Rope<'_>,
    ) -> Result<(), Stop> {
        let (version, correlation_id) = (header.version, header.correlation_id);
        let mut client_id = Vec::new();
        if let Some(id) = header.client_id {
            id.append_to(&mut client_id);
        }
        let client_id = String::from_utf8_lossy(&client_id).into_owned();
        let mut slot = self.new_slot(header.api.key, len);
        let request = match cold::decode(header.api, version, body) {
            Ok(request) => request,
            Err(refusal) => {
                let Action::Answer(code) = refusal.action() else { return Err(refusal.into()) };
                if cold::encode(&mut slot.out, version, correlation_id, cold::api_versions_error(code)).is_err() {
                    return Err(refusal.into());
                }
                self.push_slot(k, slot);
                self.mark(k);
                return Ok(());
            }
        };
        let step = self.with_context(k, &client_id, |context| {
            api::begin(context, request, version, correlation_id, &mut slot.out)
        });
        match step {
            Step::Done => {
                self.intake.cold_bytes += slot.out.len();
                self.push_slot(k, slot);
                self.mark(k);
            }
            Step::Close(why) => return Err(Stop::Close(why)),
            Step::Ask { questions, kept } => {
                let answers = questions.iter().map(|_| None).collect();
                let left = questions.len();
                slot.work = Work::Cold(Box::new(ColdSlot {
                    version,
                    correlation_id,
                    client_id,
                    kept: Some(kept),
                    answers,
                    left,
                }));
                let conn = self.conns[k as usize].as_ref().expect("it asked");
                let addr = conn.addr(k, conn.next_request());
                self.push_slot(k, slot);
                if left == 0 {
                    self.finish_cold(addr);
                }
                for (part, (target, question)) in questions.into_iter().enumerate() {
                    self.ask(self.reply_to(addr, part as u32), target, question);
                }
            }
        }
        Ok(())
    }

    fn with_context<T>(&mut self, k: u32, client_id: &str, f: impl FnOnce(&Context<'_>) -> T) -> T {
        let random = self.random();
        let conn = self.conns[k as usize].as_ref().expect("it asked");
        f(&Context {
            image: &self.routes.image,
            config: &self.config,
            now: self.now,
            cores: self.setup.cores,
            advertised: &self.setup.advertised[conn.listener as usize],
            peer: conn.peer,
            client_id,
            random,
            dirs: &self.setup.dirs,
        })
    }

    fn ask(&mut self, reply: ReplyTo, target: Target, question: Question) {
        let core = match target {
            Target::Core(core) => core,
            Target::Controller => CoreId(0),
        };
        if core == self.setup.core {
            self.on_question(reply, question);
        } else {
            self.post.send(core, Mail::Ask { reply, question: Box::new(question) });
        }
    }

    /// Answers a question, wherever it came from.
    pub(super) fn reply(&mut self, reply: ReplyTo, answer: Answer) {
        if reply.core == self.setup.core {
            self.on_answer(reply.slot, reply.part, answer);
        } else {
            self.post.send(reply.core, Mail::Answer { reply, answer: Box::new(answer) });
        }
    }

    pub(super) fn on_answer(&mut self, addr: SlotAddr, part: u32, answer: Answer) {
        let Some(slot) = self.conn_of(addr).and_then(|c| c.slot(addr.request)) else { return };
        let Work::Cold(cold) = &mut slot.work else { panic!("{addr:?} asked nothing") };
        let place = &mut cold.answers[part as usize];
        assert!(place.is_none(), "question {part} of {addr:?} was answered twice");
        *place = Some(answer);
        cold.left -= 1;
        if cold.left == 0 {
            self.finish_cold(addr);
        }
    }

    fn finish_cold(&mut self, addr: SlotAddr) {
        let Some(slot) = self.conn_of(addr).and_then(|c| c.slot(addr.request)) else { return };
        let Work::Cold(mut cold) = std::mem::replace(&mut slot.work, Work::Ready) else {
            panic!("{addr:?} is no cold request");
        };
        let mut out = std::mem::take(&mut slot.out);
        let answers = cold.answers.drain(..).map(|a| a.expect("every question was answered")).collect();
        let kept = cold.kept.take().expect("a request finishes once");
        let client_id = std::mem::take(&mut cold.client_id);
        self.with_context(addr.conn, &client_id, |context| {
            api::finish(context, kept, answers, cold.version, cold.correlation_id, &mut out);
        });
        self.intake.cold_bytes += out.len();
        let slot = self.conn_of(addr).and_then(|c| c.slot(addr.request)).expect("it was just there");
        slot.out = out;
        self.mark(addr.conn);
    }
}
