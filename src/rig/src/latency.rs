//! Latencies as an HDR histogram: exact to three digits, and merged without loss.

use std::fmt;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// The range and the resolution; the same everywhere, so that merging loses nothing.
const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Longest text of a histogram that is decoded, in bytes. One with every bucket in use has some
/// tens of thousands.
const ENCODED_MAX: usize = 256 * 1024;

/// Most bytes that a text may inflate to: some 17,000 buckets of up to 9 bytes, and the header.
const INFLATED_MAX: u64 = 256 * 1024;

/// The format's first word: version 2, not deflated.
const COOKIE: u32 = 0x1c84_9313;

/// Cookie and length of what is deflated.
const OUTER_HEADER: usize = 8;

/// Cookie, length, offset and digits in 4 bytes each, range and ratio in 8.
const HEADER: usize = 40;

/// Latencies in nanoseconds, 1 µs to 60 s; what is below or above counts as that.
#[derive(Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

/// A text that is no histogram of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(pub String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the histogram can't be decoded (HdrHistogram V2, deflated, base64): {}",
            self.0
        )
    }
}

impl std::error::Error for DecodeError {}

impl Latencies {
    /// None yet.
    pub fn new() -> Latencies {
        // The constants are valid; a test makes one.
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS)
            .unwrap_or_else(|_| unreachable!("the bounds are constants"));
        Latencies { histogram }
    }

    /// Counts one.
    pub fn record(&mut self, latency_ns: u64) {
        self.histogram
            .saturating_record(latency_ns.clamp(LOWEST_NS, HIGHEST_NS));
    }

    /// Counts all that `other` has counted.
    pub fn add(&mut self, other: &Latencies) {
        // Only a histogram of another range could be refused.
        let _ = self.histogram.add(&other.histogram);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency that the share `quantile` (0 to 1) of all did not exceed, in ns; 0 if there is
    /// none.
    pub fn at(&self, quantile: f64) -> u64 {
        if self.histogram.is_empty() {
            return 0;
        }
        self.histogram.value_at_quantile(quantile).min(HIGHEST_NS)
    }

    /// The end of the bucket that `latency_ns` counts in, in ns: what [`Latencies::at`] gives for
    /// it.
    pub fn bucket_end(&self, latency_ns: u64) -> u64 {
        let counted_as = latency_ns.clamp(LOWEST_NS, HIGHEST_NS);
        self.histogram
            .highest_equivalent(counted_as)
            .min(HIGHEST_NS)
    }

    /// HdrHistogram's V2 format, deflated, in base64.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        // Writing to memory can't fail.
        let _ = V2DeflateSerializer::new().serialize(&self.histogram, &mut bytes);
        STANDARD.encode(bytes)
    }

    /// The opposite of [`Latencies::encode`].
    ///
    /// # Errors
    /// Whatever else the text is: too long, of another range or resolution included.
    pub fn decode(text: &str) -> Result<Latencies, DecodeError> {
        let refuse = |what: &dyn fmt::Display| DecodeError(what.to_string());
        if text.len() > ENCODED_MAX {
            return Err(refuse(&format_args!("longer than {ENCODED_MAX} bytes")));
        }
        let bytes = STANDARD.decode(text).map_err(|error| refuse(&error))?;
        let deflated = bytes.get(OUTER_HEADER..).unwrap_or_default();
        let mut inflated = Vec::new();
        ZlibDecoder::new(deflated)
            .take(INFLATED_MAX)
            .read_to_end(&mut inflated)
            .map_err(|error| refuse(&error))?;
        // Its own deserialiser reserves what the header asks for, 4 GiB or any range, before it
        // looks whether so much is there.
        if !inflated.first_chunk().is_some_and(is_ours) {
            return Err(refuse(&"another format, range or resolution"));
        }
        if length(&inflated) != inflated.len().checked_sub(HEADER) {
            return Err(refuse(&"its length is wrong"));
        }
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut inflated.as_slice())
            .map_err(|error| refuse(&error))?;
        Ok(Latencies { histogram })
    }
}

/// Whether a header is of the format, range and resolution of all histograms here.
fn is_ours(header: &[u8; HEADER]) -> bool {
    let mut ours = [0; HEADER];
    ours[..4].copy_from_slice(&COOKIE.to_be_bytes());
    // Any length; no offset.
    ours[4..8].copy_from_slice(&header[4..8]);
    ours[15] = DIGITS;
    ours[16..24].copy_from_slice(&LOWEST_NS.to_be_bytes());
    ours[24..32].copy_from_slice(&HIGHEST_NS.to_be_bytes());
    ours[32..].copy_from_slice(&1f64.to_be_bytes());
    ours == *header
}

/// How many bytes of buckets there are, by the header.
fn length(inflated: &[u8]) -> Option<usize> {
    let length = inflated.get(4..)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies::new()
    }
}

impl PartialEq for Latencies {
    fn eq(&self, other: &Latencies) -> bool {
        self.histogram == other.histogram
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latencies({} counted)", self.count())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::read::ZlibEncoder;
    use hdrhistogram::serialization::V2Serializer;

    use super::*;

    #[test]
    fn a_text_gives_back_what_was_counted() {
        let mut latencies = Latencies::new();
        for ns in [0, 1_000, 120_000, 3_400_000, u64::MAX] {
            latencies.record(ns);
        }
        let decoded = Latencies::decode(&latencies.encode()).expect("it is one of ours");
        assert_eq!(decoded, latencies);
        assert_eq!(decoded.count(), 5);
        assert_eq!(decoded.at(1.0), HIGHEST_NS);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "x", "AAAA", "HISTFAAA"] {
            assert!(Latencies::decode(text).is_err(), "{text:?}");
        }
        for (len, too_long) in [(ENCODED_MAX, false), (ENCODED_MAX + 4, true)] {
            let refused = Latencies::decode(&"A".repeat(len)).expect_err("zeros");
            assert_eq!(refused.0.contains("longer than"), too_long, "{refused}");
        }
    }

    #[test]
    fn every_bucket_may_be_in_use() {
        let mut latencies = Latencies::new();
        let (mut ns, mut buckets) = (LOWEST_NS, 0);
        while ns <= HIGHEST_NS {
            let counted = latencies.histogram.record_n(ns, (1 << 32) + ns);
            assert!(counted.is_ok(), "{ns}");
            ns = latencies.histogram.highest_equivalent(ns) + 1;
            buckets += 1;
        }
        assert!(buckets > 10_000, "{buckets}");
        assert_eq!(Latencies::decode(&latencies.encode()), Ok(latencies));
    }

    #[test]
    fn what_two_have_counted_is_counted_together() {
        let (mut one, mut other) = (Latencies::new(), Latencies::new());
        one.record(2_000);
        other.record(1_000);
        other.record(9_000);
        assert_ne!(one, other);
        one.add(&other);
        assert_eq!((one.count(), other.count()), (3, 2));
        // Buckets are 512 ns wide down here.
        assert_eq!(
            [one.at(0.3), one.at(0.6), one.at(1.0)],
            [1_023, 2_047, 9_215]
        );
        assert_eq!(format!("{one:?}"), "Latencies(3 counted)");
    }

    /// A text as [`Latencies::encode`] makes it, whose header has other bytes at `at`.
    fn forged(at: usize, other: &[u8]) -> String {
        let mut latencies = Latencies::new();
        latencies.record(120_000);
        let mut plain = Vec::new();
        V2Serializer::new()
            .serialize(&latencies.histogram, &mut plain)
            .expect("memory takes all");
        plain[at..at + other.len()].copy_from_slice(other);
        let mut text = vec![0x1c, 0x84, 0x93, 0x14, 0, 0, 0, 0];
        ZlibEncoder::new(plain.as_slice(), Compression::fast())
            .read_to_end(&mut text)
            .expect("memory takes all");
        STANDARD.encode(text)
    }

    #[test]
    fn headers_are_checked_before_memory_is_reserved() {
        assert!(Latencies::decode(&forged(0, &[])).is_ok());
        for (at, other, words) in [
            (0, &[0x1c, 0x84, 0x93, 0x14][..], "another format"),
            (4, &[0xff; 4][..], "its length"),
            (4, &[0; 4][..], "its length"),
            (8, &[0, 0, 0, 1][..], "another format"),
            (12, &[0, 0, 0, 5][..], "another format"),
            (24, &[0x7f; 8][..], "another format"),
            (32, &[0; 8][..], "another format"),
        ] {
            let refused = Latencies::decode(&forged(at, other)).expect_err(words);
            assert!(refused.0.contains(words), "{at}: {refused}");
        }
    }

    #[test]
    fn what_inflates_without_end_is_cut() {
        let mut text = vec![0x1c, 0x84, 0x93, 0x14, 0, 0, 0, 0];
        let zeros = vec![0; 64 << 20];
        ZlibEncoder::new(zeros.as_slice(), Compression::best())
            .read_to_end(&mut text)
            .expect("memory takes all");
        let refused = Latencies::decode(&STANDARD.encode(text)).expect_err("zeros");
        assert!(refused.0.contains("another format"), "{refused}");
    }

    #[test]
    fn buckets_end_where_percentiles_are() {
        for ns in [0, 1_000, 2_000_000, 12_345_678, HIGHEST_NS, u64::MAX] {
            let mut latencies = Latencies::new();
            latencies.record(ns);
            assert_eq!(Latencies::new().bucket_end(ns), latencies.at(1.0), "{ns}");
        }
    }

    #[test]
    fn no_latency_has_no_percentile() {
        assert_eq!(Latencies::new().at(0.99), 0);
    }
}
