//! Latencies as an HDR histogram: exact to three digits, and merged without loss.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// The range and the resolution; the same everywhere, so that merging loses nothing.
const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Longest text of a histogram that is decoded, in bytes. One with every bucket in use has some
/// tens of thousands.
const ENCODED_MAX: usize = 256 * 1024;

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
            "no histogram (HdrHistogram V2, deflated, base64): {}",
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
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| refuse(&error))?;
        let ours = (histogram.low(), histogram.high(), histogram.sigfig());
        if ours != (LOWEST_NS, HIGHEST_NS, DIGITS) {
            return Err(refuse(&"another range or resolution"));
        }
        Ok(Latencies { histogram })
    }
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
        assert!(Latencies::decode(&"A".repeat(ENCODED_MAX + 1)).is_err());
    }

    #[test]
    fn no_latency_has_no_percentile() {
        assert_eq!(Latencies::new().at(0.99), 0);
    }
}
