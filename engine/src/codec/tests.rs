//! Round trips, foreign framings, limits and damage for every codec.

use super::{Codec, CodecError, Decoder, Encoder, TargetCodec};
use crate::rope::Rope;
use std::io::Write;

/// A fixed sequence of pseudo-random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut dice = Dice(88);
    (0..len).map(|_| dice.roll(256) as u8).collect()
}

fn text(len: usize) -> Vec<u8> {
    let words = [&b"offset "[..], b"partition ", b"leader ", b"epoch ", b"segment "];
    let mut dice = Dice(99);
    let mut out = Vec::new();
    while out.len() < len {
        out.extend_from_slice(words[dice.roll(words.len())]);
    }
    out.truncate(len);
    out
}

fn compress(codec: Codec, level: i32, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::default().compress(codec, level, plain, &mut out);
    out
}

fn read(decoder: &mut Decoder, codec: Codec, bytes: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    decoder.read_all(codec, Rope::of(bytes), limit, &mut out).map(|()| out)
}

#[test]
fn what_is_written_is_read_back_in_any_pieces() {
    let mut decoder = Decoder::default();
    let mut encoder = Encoder::default();
    for codec in Codec::ALL {
        for len in [0, 1, 100, 32 * 1024, 64 * 1024 + 1, 300_000] {
            for plain in [noise(len), text(len), vec![0; len]] {
                let mut bytes = Vec::new();
                encoder.compress(codec, codec.default_level(), &plain, &mut bytes);
                for piece in [13, 1000, bytes.len().max(1)] {
                    let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
                    let mut out = Vec::new();
                    let read = decoder.read_all(codec, Rope::new(&pieces), len, &mut out);
                    assert_eq!(read, Ok(()), "{codec}, {len} bytes in pieces of {piece}");
                    assert!(out == plain, "{codec}, {len} bytes in pieces of {piece} came back changed");
                }
            }
        }
    }
}

#[test]
fn levels_matter_and_out_of_range_ones_are_brought_in() {
    let plain = text(200_000);
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (fast, best) = (compress(codec, 1, &plain), compress(codec, 9, &plain));
        assert!(best.len() < fast.len(), "{codec}: {} at level 9, {} at level 1", best.len(), fast.len());
        for level in [i32::MIN, -5, 0, 100, i32::MAX] {
            if codec == Codec::Gzip || level <= 0 {
                let bytes = compress(codec, level, &plain[..1000]);
                assert!(read(&mut Decoder::default(), codec, &bytes, 1000).is_ok(), "{codec} at level {level}");
            }
        }
    }
    let (fast, best) = (compress(Codec::Lz4, 9, &plain), compress(Codec::Lz4, 17, &plain));
    assert!(best.len() < fast.len(), "lz4: {} at level 17, {} at its default", best.len(), fast.len());
    for level in [i32::MIN, 1, 8, 10, 17, i32::MAX] {
        for plain in [&plain, &noise(70_000)] {
            let bytes = compress(Codec::Lz4, level, plain);
            assert!(
                read(&mut Decoder::default(), Codec::Lz4, &bytes, plain.len()).as_ref() == Ok(plain),
                "level {level}"
            );
        }
    }
    assert_eq!(TargetCodec::Producer.for_source(Codec::Lz4), (Codec::Lz4, 9));
    assert_eq!(TargetCodec::fixed(Codec::Zstd).for_source(Codec::Lz4), (Codec::Zstd, 3));
}

#[test]
fn the_limit_is_exact() {
    let plain = text(100_000);
    let mut decoder = Decoder::default();
    for codec in Codec::ALL {
        let bytes = compress(codec, codec.default_level(), &plain);
        assert!(read(&mut decoder, codec, &bytes, plain.len()).is_ok(), "{codec}");
        let refused = read(&mut decoder, codec, &bytes, plain.len() - 1);
        assert_eq!(refused, Err(CodecError::TooLarge), "{codec}");
    }
}

#[test]
fn a_cut_stream_is_corrupt() {
    let plain = noise(3000);
    let mut decoder = Decoder::default();
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let bytes = compress(codec, codec.default_level(), &plain);
        for cut in 0..bytes.len() {
            assert_eq!(read(&mut decoder, codec, &bytes[..cut], 3000), Err(CodecError::Corrupt), "{codec} at {cut}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(read(&mut decoder, codec, &longer, 3000), Err(CodecError::Corrupt), "{codec} with more behind");
    }
    // The snappy framing has no end mark: only a cut block shows.
    let bytes = compress(Codec::Snappy, 0, &noise(100_000));
    for cut in [0, 1, 15, 17, 19, 21, 40_000, bytes.len() - 1] {
        let cut_read = read(&mut decoder, Codec::Snappy, &bytes[..cut], 100_000);
        assert_eq!(cut_read, Err(CodecError::Corrupt), "snappy at {cut}");
    }
}

#[test]
fn damage_is_refused_or_read_but_never_more() {
    let limit = 50_000;
    let mut dice = Dice(4242);
    let mut decoder = Decoder::default();
    let (mut refused, mut passed) = (0, 0);
    for codec in Codec::ALL {
        for plain in [text(4000), noise(700), vec![7; 20_000]] {
            let bytes = compress(codec, codec.default_level(), &plain);
            for _ in 0..3000 {
                let mut damaged = bytes.clone();
                for _ in 0..1 + dice.roll(4) {
                    let at = dice.roll(damaged.len());
                    damaged[at] = dice.roll(256) as u8;
                }
                damaged.truncate(damaged.len() - dice.roll(2) * dice.roll(damaged.len()));
                match read(&mut decoder, codec, &damaged, limit) {
                    Ok(out) => {
                        assert!(out.len() <= limit, "{codec} put out {} bytes", out.len());
                        passed += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            let intact = read(&mut decoder, codec, &bytes, limit);
            assert_eq!(intact.as_ref(), Ok(&plain), "{codec} after damage");
        }
    }
    assert!(refused > 10_000 && passed > 5_000, "{refused} refused, {passed} passed");
}

#[test]
fn a_bomb_meets_the_limit_in_a_small_window() {
    let zeros = vec![0u8; 64 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = compress(codec, codec.default_level(), &zeros);
        assert!(bomb.len() < zeros.len() / 20, "{codec}: {} bytes are no bomb", bomb.len());
        let mut decoder = Decoder::default();
        assert_eq!(read(&mut decoder, codec, &bomb, 1 << 20), Err(CodecError::TooLarge), "{codec}");
        let mut plain = decoder.open(codec, Rope::of(&bomb), usize::MAX);
        let mut total = 0;
        while plain.advance() == Ok(true) {
            total += plain.piece().len();
        }
        assert_eq!(total, zeros.len(), "{codec}");
        assert!(decoder.held() < 4 << 20, "{codec} holds {} bytes", decoder.held());
        decoder.shrink(1000);
        assert!(decoder.held() < 1000, "{codec} holds {} bytes", decoder.held());
    }
}

#[test]
fn a_lie_about_the_size_costs_nothing() {
    let mut decoder = Decoder::default();
    // A bare snappy block that claims 4 GiB, and a framed one.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, b'x'];
    let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07"[..], &claim].concat();
    for bytes in [&claim[..], &framed] {
        assert_eq!(read(&mut decoder, Codec::Snappy, bytes, usize::MAX), Err(CodecError::Corrupt));
    }
    assert_eq!(decoder.held(), 0);
    // An lz4 frame with blocks of up to 4 MiB that holds one byte.
    let tiny = lz4_frame(lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max4MB), b"x");
    assert_eq!(read(&mut decoder, Codec::Lz4, &tiny, 1), Ok(b"x".to_vec()));
    assert!(decoder.held() < 10_000, "holds {} bytes for one", decoder.held());
}

fn lz4_frame(info: lz4_flex::frame::FrameInfo, plain: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(plain).expect("written to memory");
    encoder.finish().expect("written to memory")
}

/// Linked blocks, checksums and sizes, which librdkafka and others write, against an independent encoder.
#[test]
fn every_kind_of_lz4_frame_is_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
    let mut plain = text(400_000);
    plain.extend(noise(100_000));
    plain.extend(text(150_000));
    let mut decoder = Decoder::default();
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(plain.len() as u64));
                let bytes = lz4_frame(info, &plain);
                let read = read(&mut decoder, Codec::Lz4, &bytes, plain.len());
                assert!(read.as_ref() == Ok(&plain), "{mode:?} {size:?} {checks}");
                let mut damaged = bytes.clone();
                let last = damaged.len() - 1;
                damaged[last] ^= 1;
                assert!(super::tests::read(&mut decoder, Codec::Lz4, &damaged, plain.len()).is_err());
                for at in 4..7 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 2;
                    let refused = super::tests::read(&mut decoder, Codec::Lz4, &damaged, plain.len());
                    assert_eq!(refused, Err(CodecError::Corrupt), "descriptor byte {at}");
                }
            }
        }
    }
}

#[test]
fn gzip_members_with_names_follow_each_other() {
    let plain = text(1000);
    let mut bytes = flate2::GzBuilder::new()
        .filename("name")
        .comment("comment")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), flate2::Compression::new(6));
    bytes.write_all(&plain).expect("written to memory");
    let mut bytes = bytes.finish().expect("written to memory");
    bytes.extend(compress(Codec::Gzip, 1, &plain));
    let mut decoder = Decoder::default();
    assert_eq!(read(&mut decoder, Codec::Gzip, &bytes, 2000), Ok([&plain[..], &plain].concat()));
    for from_end in 1..=8 {
        let mut damaged = bytes.clone();
        let at = damaged.len() - from_end;
        damaged[at] ^= 0x10;
        assert_eq!(read(&mut decoder, Codec::Gzip, &damaged, 2000), Err(CodecError::Corrupt), "trailer -{from_end}");
    }
}

#[test]
fn a_bare_snappy_block_is_read() {
    let plain = text(70_000);
    let block = snap::raw::Encoder::new().compress_vec(&plain).expect("compresses");
    let mut decoder = Decoder::default();
    assert!(read(&mut decoder, Codec::Snappy, &block, plain.len()).as_ref() == Ok(&plain));
    let pieces: Vec<&[u8]> = block.chunks(100).collect();
    let mut out = Vec::new();
    assert_eq!(decoder.read_all(Codec::Snappy, Rope::new(&pieces), plain.len(), &mut out), Ok(()));
    assert!(out == plain);
    assert_eq!(read(&mut decoder, Codec::Snappy, &block, plain.len() - 1), Err(CodecError::TooLarge));
}
