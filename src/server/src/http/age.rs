//! The value of `X-Data-Age`, made once for all answers of the same age.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::header::HeaderValue;

use super::more::More;

/// Ages change once a second, and there are many answers in a second: the last value is kept. In
/// an [`Rc`], so that an answer without the header carries a null pointer and no more.
#[derive(Default)]
pub struct AgeHeader(RefCell<Option<(u32, Rc<More>)>>);

impl AgeHeader {
    /// The header for an age in seconds.
    pub fn of(&self, seconds: u32) -> Rc<More> {
        let mut last = self.0.borrow_mut();
        if let Some((age, value)) = &*last
            && *age == seconds
        {
            return value.clone();
        }
        let value = Rc::new(More {
            age: Some(HeaderValue::from(seconds)),
            ..More::default()
        });
        *last = Some((seconds, value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_age_has_its_own_value() {
        let header = AgeHeader::default();
        let check = |seconds, expected: &str| {
            let age = header.of(seconds).age.clone();
            assert_eq!(age, HeaderValue::from_str(expected).ok());
        };
        check(0, "0");
        check(11, "11");
        check(11, "11");
        check(12, "12");
        check(u32::MAX, "4294967295");
        assert!(Rc::ptr_eq(&header.of(7), &header.of(7)));
    }
}
