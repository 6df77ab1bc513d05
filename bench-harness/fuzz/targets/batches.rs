//! Record batches as producers send them, and what the codecs unpack.

use super::input::{Input, pieces};
use ringlog_engine::batch::{self, BatchHeader, HEADER_LEN, Records, Rules, Scratch, TimestampType, Verdict};
use ringlog_engine::codec::{Codec, Decoder, Encoder, TargetCodec};
use ringlog_engine::rope::Rope;
use ringlog_engine::types::WallMs;

/// What a batch may unpack to.
const UNPACKED: usize = 64 * 1024;

fn rules(input: &mut Input<'_>) -> Rules {
    let bits = input.u8();
    let flag = |bit: u8| bits >> bit & 1 == 1;
    let targets = [
        TargetCodec::Producer,
        TargetCodec::fixed(Codec::None),
        TargetCodec::fixed(Codec::Gzip),
        TargetCodec::fixed(Codec::Snappy),
        TargetCodec::fixed(Codec::Lz4),
        TargetCodec::fixed(Codec::Zstd),
    ];
    Rules {
        now: WallMs(1_700_000_000_000),
        max_message_bytes: 32 * 1024,
        timestamp_type: if flag(0) { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        before_max_ms: if flag(1) { 1_000 } else { i64::MAX },
        after_max_ms: if flag(2) { 1_000 } else { i64::MAX },
        compacted: flag(3),
        compression: if flag(4) { input.pick(&targets) } else { TargetCodec::Producer },
        decompressed_max_bytes: UNPACKED,
        produce_version: if flag(5) { 3 } else { 12 },
    }
}

/// Rules, whether length and checksum are made right, cuts, batch.
pub(super) fn validate(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let rules = rules(&mut input);
    let repaired = input.u8() & 1 == 0;
    let cuts = input.cuts();
    let mut batch = input.rest().to_vec();
    if repaired {
        repair(&mut batch);
    }
    let (mut scratch, mut again) = (Scratch::default(), Scratch::default());
    let cut = pieces(&batch, cuts);
    let (cut, plain) = (Rope::new(&cut), Rope::of(&batch));
    // Of several things wrong with a batch, which is met first may depend on the pieces.
    let result = batch::validate(cut, &rules, &mut scratch);
    let whole = batch::validate(plain, &rules, &mut again);
    assert_eq!(result.as_ref().ok(), whole.as_ref().ok(), "cut {result:?}, whole {whole:?}");
    let Ok(validated) = result else { return };
    let mut kept = validated.header.encode().to_vec();
    validated.body(cut, &scratch).append_to(&mut kept);
    if validated.verdict == Verdict::AsIs {
        assert_eq!(kept, batch);
    }
    assert!(batch::checksum_matches(Rope::of(&kept)), "a batch to be appended has the checksum of its bytes");
    read_back(&kept, &validated.header);
    // What may be appended once may be appended again, where it was not given the time of the append.
    if rules.timestamp_type == TimestampType::CreateTime && kept.len() <= rules.max_message_bytes as usize {
        let second = batch::validate(Rope::of(&kept), &Rules { produce_version: 12, ..rules }, &mut again);
        let second = second.expect("what was let pass is let pass again");
        assert_eq!((second.verdict, second.header), (Verdict::AsIs, validated.header));
    }
}

fn repair(batch: &mut [u8]) {
    let len = batch.len() as i32 - 12;
    let Some((head, body)) = batch.split_first_chunk_mut::<HEADER_LEN>() else { return };
    head[8..12].copy_from_slice(&len.to_be_bytes());
    let crc = batch::checksum(head, Rope::of(body));
    head[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The records are as many as the header says, at rising offsets, and found by their times.
fn read_back(batch: &[u8], header: &BatchHeader) {
    let (mut decoder, mut buffer) = (Decoder::default(), Vec::new());
    let records =
        Records::read(Rope::of(batch), &mut decoder, &mut buffer, UNPACKED).expect("a validated batch is read");
    let mut count = 0;
    for record in records {
        let record = record.expect("a validated record is read");
        assert_eq!(record.offset, header.base_offset + i64::from(count));
        record.headers.for_each(drop);
        count += 1;
    }
    assert_eq!(count, header.record_count);
    let latest = batch::offset_of_max_timestamp(Rope::of(batch), &mut Decoder::default(), UNPACKED);
    let latest = latest.expect("a validated batch is read");
    if let Some(latest) = latest {
        let found = batch::seek_timestamp(Rope::of(batch), latest.timestamp, 0, &mut Decoder::default(), UNPACKED);
        let found = found.expect("a validated batch is read").expect("the latest time is found");
        assert_eq!((found.timestamp, found.offset), (latest.timestamp, latest.offset));
    }
}

/// Codec, cuts, bytes: unpacked as they are, and packed and unpacked again.
pub(super) fn codecs(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let codec = input.pick(&Codec::ALL);
    let cuts = input.cuts();
    let packed = pieces(input.rest(), cuts);
    let (mut decoder, mut plain, mut whole) = (Decoder::default(), Vec::new(), Vec::new());
    let result = decoder.read_all(codec, Rope::new(&packed), UNPACKED, &mut plain);
    let again = Decoder::default().read_all(codec, Rope::of(input.rest()), UNPACKED, &mut whole);
    assert_eq!(result.map(|()| &plain).ok(), again.map(|()| &whole).ok(), "cut {result:?}, whole {again:?}");
    assert!(plain.len() <= UNPACKED);
    let (mut repacked, mut unpacked) = (Vec::new(), Vec::new());
    let content = if result.is_ok() { &plain[..] } else { &input.rest()[..input.rest().len().min(UNPACKED)] };
    Encoder::default().compress(codec, codec.default_level(), content, &mut repacked);
    // The decoder that has just failed is as good as a new one.
    assert_eq!(decoder.read_all(codec, Rope::of(&repacked), UNPACKED, &mut unpacked), Ok(()));
    assert_eq!(unpacked, content);
}
