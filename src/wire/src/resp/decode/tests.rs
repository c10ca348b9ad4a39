use super::*;

const TIGHT: Limits = Limits {
    depth: 3,
    elements: 8,
    line_len: 24,
    bulk_len: 16,
    reply_len: 128,
};

/// Decodes `input` whole and cut at every place; all have to agree. Returns the reply as `Debug`
/// shows it, an error, or `None` if the input is incomplete.
fn outcome(limits: Limits, input: &[u8]) -> Result<Option<(String, usize)>, DecodeError> {
    let run = |cuts: &[usize]| {
        let mut decoder = Decoder::new(limits);
        let mut last = Ok(None);
        for &cut in cuts {
            last = decoder.decode(&input[..cut]);
            if last != Ok(None) {
                break;
            }
        }
        last.map(|decoded| decoded.map(|decoded| (format!("{:?}", decoded.reply), decoded.len)))
    };
    let whole = run(&[input.len()]);
    for cut in 0..input.len() {
        assert_eq!(
            run(&[cut, input.len()]),
            whole,
            "cut at {cut}: {}",
            input.escape_ascii()
        );
    }
    let bytewise: Vec<usize> = (0..=input.len()).collect();
    assert_eq!(
        run(&bytewise),
        whole,
        "byte by byte: {}",
        input.escape_ascii()
    );
    whole
}

#[test]
fn each_type() {
    let check = |input: &str, expected: Reply<'_>| {
        let input = input.as_bytes();
        let shown = Ok(Some((format!("{expected:?}"), input.len())));
        assert_eq!(
            outcome(Limits::default(), input),
            shown,
            "{}",
            input.escape_ascii()
        );
        // What follows belongs to the next reply.
        let followed = [input, b"+next\r\n"].concat();
        assert_eq!(
            outcome(Limits::default(), &followed),
            shown,
            "{}",
            input.escape_ascii()
        );
    };
    check("+OK\r\n", Reply::Simple(b"OK"));
    check("+\r\n", Reply::Simple(b""));
    check("-ERR no\r\n", Reply::Error(b"ERR no"));
    check("!6\r\nERR\r\nx\r\n", Reply::Error(b"ERR\r\nx"));
    check(":-42\r\n", Reply::Integer(-42));
    check(":+7\r\n", Reply::Integer(7));
    check(
        "(-12345678901234567890\r\n",
        Reply::BigNumber(b"-12345678901234567890"),
    );
    check(",12.5\r\n", Reply::Double(12.5));
    check(",-inf\r\n", Reply::Double(f64::NEG_INFINITY));
    check(",nan\r\n", Reply::Double(f64::NAN));
    check("#t\r\n", Reply::Boolean(true));
    check("#f\r\n", Reply::Boolean(false));
    check("_\r\n", Reply::Null);
    check("$-1\r\n", Reply::Null);
    check("*-1\r\n", Reply::Null);
    check("$0\r\n\r\n", Reply::Bulk(b""));
    check("$4\r\n12.5\r\n", Reply::Bulk(b"12.5"));
    check("$9\r\n123456789\r\n", Reply::Bulk(b"123456789"));
    check("$10\r\n1234567890\r\n", Reply::Bulk(b"1234567890"));
    for len in [99, 100] {
        let text = "7".repeat(len);
        check(
            &format!("${len}\r\n{text}\r\n"),
            Reply::Bulk(text.as_bytes()),
        );
    }
    check(
        "$12\r\n+a\r\n$1\r\nb\r\n\r\r\n",
        Reply::Bulk(b"+a\r\n$1\r\nb\r\n\r"),
    );
    check(
        "=6\r\ntxt:ab\r\n",
        Reply::Verbatim {
            format: *b"txt",
            text: b"ab",
        },
    );
    check(
        "=4\r\nmkd:\r\n",
        Reply::Verbatim {
            format: *b"mkd",
            text: b"",
        },
    );
}

#[test]
fn aggregates() {
    let check = |input: &str, expected: &str| {
        let shown = Ok(Some((expected.to_owned(), input.len())));
        assert_eq!(
            outcome(Limits::default(), input.as_bytes()),
            shown,
            "{input:?}"
        );
    };
    check("*0\r\n", "Array([])");
    check("~0\r\n", "Set([])");
    check("%0\r\n", "Map({})");
    check(">0\r\n", "Push([])");
    check(
        "*2\r\n:1\r\n*1\r\n_\r\n",
        "Array([Integer(1), Array([Null])])",
    );
    check("*2\r\n*0\r\n%0\r\n", "Array([Array([]), Map({})])");
    check("%2\r\n:1\r\n#t\r\n:2\r\n#f\r\n", {
        "Map({Integer(1): Boolean(true), Integer(2): Boolean(false)})"
    });
    check(
        "~1\r\n%1\r\n:1\r\n~0\r\n",
        "Set([Map({Integer(1): Set([])})])",
    );
    check(">2\r\n:1\r\n_\r\n", "Push([Integer(1), Null])");
    check("|1\r\n:1\r\n:2\r\n*1\r\n:3\r\n", {
        "Attributed(Attributed { attributes: {Integer(1): Integer(2)}, \
         value: [42, 49, 13, 10, 58, 51, 13, 10] })"
    });
}

#[test]
fn attributes_count_as_no_element_and_stand_anywhere() {
    // The example of the specification: the array has three elements.
    let input = b"*3\r\n:1\r\n:2\r\n|1\r\n+ttl\r\n:3600\r\n:3\r\n";
    let mut decoder = Decoder::new(Limits::default());
    let Ok(Some(Decoded {
        reply: Reply::Array(elements),
        ..
    })) = decoder.decode(input)
    else {
        unreachable!("an array");
    };
    assert_eq!(elements.len(), 3);
    let plain: Vec<_> = elements.map(Reply::plain).collect();
    assert_eq!(
        plain,
        [Reply::Integer(1), Reply::Integer(2), Reply::Integer(3)]
    );
    let Some(Reply::Attributed(last)) = elements.last() else {
        unreachable!("attributes")
    };
    let attributes: Vec<_> = last.attributes().collect();
    assert_eq!(attributes, [(Reply::Simple(b"ttl"), Reply::Integer(3600))]);
    assert_eq!(last.value(), Reply::Integer(3));

    let check = |input: &[u8], expected: Reply<'_>| {
        let decoded = Decoder::new(Limits::default()).decode(input);
        let plain = decoded.map(|decoded| decoded.map(|it| (it.reply.plain(), it.len)));
        assert_eq!(
            plain,
            Ok(Some((expected, input.len()))),
            "{}",
            input.escape_ascii()
        );
    };
    check(b"|0\r\n+OK\r\n", Reply::Simple(b"OK"));
    check(
        b"|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n:2\r\n:3\r\n",
        Reply::Integer(3),
    );
    check(
        b"|1\r\n*1\r\n:0\r\n:1\r\n|1\r\n:2\r\n:3\r\n$-1\r\n",
        Reply::Null,
    );
}

#[test]
fn refusals() {
    use DecodeError as E;
    let check = |input: &str, error: E| {
        let result = outcome(Limits::default(), input.as_bytes());
        assert_eq!(result, Err(error), "{input:?}");
    };
    check("HTTP/1.1 400", E::UnknownType(b'H'));
    check("\r\n", E::UnknownType(b'\r'));
    check("*1\r\n@", E::UnknownType(b'@'));
    check("+OK\n", E::LineEnd);
    check("+OK\rx", E::LineEnd);
    check("+O\nK\r\n", E::LineEnd);
    check("+OK\r\r\n", E::LineEnd);
    check("$4\n", E::LineEnd);
    check("$4\r\n12.50\r\n", E::BulkEnd);
    check("$4\r\n12.5\n\n", E::BulkEnd);
    check("$4\r\n12.5\rx", E::BulkEnd);
    check("$14\r\n12345678901234\r\r", E::BulkEnd);
    for line in [
        "",
        "-2",
        "+1",
        "-0",
        "01",
        "1x",
        "99999999999999999999",
        "-1x",
        "EOF:abc",
    ] {
        for kind in ["$", "!", "=", "*", "~", "%", ">", "|"] {
            check(&format!("{kind}{line}\r\n"), E::Length(kind.as_bytes()[0]));
        }
    }
    for kind in ["!", "=", "~", "%", ">", "|"] {
        check(&format!("{kind}-1\r\n"), E::Length(kind.as_bytes()[0]));
    }
    for kind in ["$", "!", "=", "*", "~", "%", ">", "|"] {
        check(&format!("{kind}?\r\n"), E::Streamed(kind.as_bytes()[0]));
    }
    check(";4\r\n", E::Streamed(b';'));
    check("*1\r\n.\r\n", E::Streamed(b'.'));
    check(":\r\n", E::Integer);
    check(":1.5\r\n", E::Integer);
    check(":9223372036854775808\r\n", E::Integer);
    check(",\r\n", E::Double);
    check(",1.\r\n", E::Double);
    check("(1e5\r\n", E::BigNumber);
    check("(\r\n", E::BigNumber);
    check("#T\r\n", E::Boolean);
    check("#\r\n", E::Boolean);
    check("#tt\r\n", E::Boolean);
    check("_x\r\n", E::Null);
    check("=3\r\n", E::Verbatim);
    check("=4\r\ntxtx\r\n", E::Verbatim);
    check("*1\r\n>", E::NestedPush);
    check("|1\r\n>", E::NestedPush);
    check("|1\r\n+a\r\n>", E::NestedPush);
    check("*1\r\n|1\r\n+a\r\n+b\r\n>", E::NestedPush);
    check("|0\r\n*1\r\n>", E::NestedPush);
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table of cases")]
fn limits_hold_at_their_edge() {
    use DecodeError as E;
    let fits = |input: &str| {
        let result = outcome(TIGHT, input.as_bytes());
        assert_eq!(
            result.map(|it| it.map(|it| it.1)),
            Ok(Some(input.len())),
            "{input:?}"
        );
    };
    let check = |input: &str, error: E| {
        assert_eq!(outcome(TIGHT, input.as_bytes()), Err(error), "{input:?}");
    };
    fits(&format!("+{}\r\n", "x".repeat(24)));
    check(
        &format!("+{}", "x".repeat(25)),
        E::LineTooLong { limit: 24 },
    );
    fits("$16\r\n0123456789abcdef\r\n");
    check("$17\r\n", E::BulkTooLong { len: 17, limit: 16 });
    check("=17\r\n", E::BulkTooLong { len: 17, limit: 16 });
    let largest = usize::MAX;
    check(
        &format!("!{largest}\r\n"),
        E::BulkTooLong {
            len: largest,
            limit: 16,
        },
    );

    fits("*1\r\n*1\r\n*1\r\n:1\r\n");
    check("*1\r\n*1\r\n*1\r\n*0\r\n", E::TooDeep { limit: 3 });
    check("*1\r\n%1\r\n~1\r\n%0\r\n", E::TooDeep { limit: 3 });
    fits("|0\r\n|0\r\n|0\r\n:1\r\n");
    check("|0\r\n|0\r\n|0\r\n|0\r\n", E::TooDeep { limit: 3 });

    let eight = ":1\r\n".repeat(8);
    fits(&format!("*8\r\n{eight}"));
    fits(&format!("%4\r\n{eight}"));
    fits(&format!("|4\r\n{eight}_\r\n"));
    check(
        "*9\r\n",
        E::TooManyElements {
            announced: 9,
            limit: 8,
        },
    );
    check(
        "%5\r\n",
        E::TooManyElements {
            announced: 10,
            limit: 8,
        },
    );
    check(
        "|5\r\n",
        E::TooManyElements {
            announced: 10,
            limit: 8,
        },
    );
    check("*2\r\n*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n~1\r\n", {
        E::TooManyElements {
            announced: 9,
            limit: 8,
        }
    });
    for kind in ["*", "~", ">"] {
        let announced = largest;
        check(
            &format!("{kind}{largest}\r\n"),
            E::TooManyElements {
                announced,
                limit: 8,
            },
        );
    }
    check(
        &format!("%{largest}\r\n"),
        E::TooManyElements {
            announced: largest,
            limit: 8,
        },
    );
    check(
        &format!("|{largest}\r\n"),
        E::TooManyElements {
            announced: largest - 1,
            limit: 8,
        },
    );

    let bulks = "$16\r\n0123456789abcdef\r\n".repeat(5);
    fits(&format!("*6\r\n{bulks}$3\r\nabc\r\n"));
    // Announced is enough: the bytes need not come.
    check(
        &format!("*6\r\n{bulks}$9\r\n"),
        E::ReplyTooLong {
            len: 134,
            limit: 128,
        },
    );
    check(
        &format!("*6\r\n{bulks}+0123456789abcdef\r\n"),
        E::ReplyTooLong {
            len: 138,
            limit: 128,
        },
    );
}

#[test]
fn the_fast_path_has_the_same_limits() {
    let check = |limits: Limits, expected| {
        assert_eq!(
            outcome(limits, b"$4\r\n12.5\r\n").map(|it| it.is_some()),
            expected
        );
    };
    check(
        Limits {
            bulk_len: 4,
            reply_len: 10,
            line_len: 1,
            ..TIGHT
        },
        Ok(true),
    );
    let (len, limit) = (4, 3);
    check(
        Limits {
            bulk_len: 3,
            ..TIGHT
        },
        Err(DecodeError::BulkTooLong { len, limit }),
    );
    let (len, limit) = (10, 9);
    check(
        Limits {
            reply_len: 9,
            ..TIGHT
        },
        Err(DecodeError::ReplyTooLong { len, limit }),
    );
    check(
        Limits {
            line_len: 0,
            ..TIGHT
        },
        Err(DecodeError::LineTooLong { limit: 0 }),
    );
    let long = outcome(
        Limits {
            line_len: 1,
            ..TIGHT
        },
        b"$10\r\n1234567890\r\n",
    );
    assert_eq!(long, Err(DecodeError::LineTooLong { limit: 1 }));
}

#[test]
fn the_fast_path_takes_all_short_strings_and_nothing_else() {
    let check = |text: &[u8], fast: bool| {
        let header = format!("${}\r\n", text.len());
        let input = [header.as_bytes(), text, b"\r\n"].concat();
        let mut decoder = Decoder::new(Limits::default());
        let reply = Reply::Bulk(text);
        let len = input.len();
        assert_eq!(decoder.decode(&input), Ok(Some(Decoded { reply, len })));
        assert_eq!(decoder.examined == 0, fast, "{} bytes", text.len());
    };
    check(b"", false);
    for len in 1..=99 {
        check(&b"\r\n".repeat(50)[..len], true);
    }
    check(&[b'1'; 100], false);
}

#[test]
fn limits_without_bounds_overflow_nothing() {
    let none = usize::MAX;
    let limits = Limits {
        depth: none,
        elements: none,
        line_len: none,
        bulk_len: none,
        reply_len: none,
    };
    let check = |input: String| {
        let result = Decoder::new(limits).decode(input.as_bytes());
        assert_eq!(result, Ok(None), "{input:?}");
    };
    for kind in ["$", "=", "*", "%", "|"] {
        check(format!("{kind}{none}\r\n"));
        check(format!("*2\r\n{kind}{none}\r\n"));
        check(format!("*{none}\r\n{kind}{none}\r\n"));
    }
    let deep = b"*1\r\n".repeat(MAX_DEPTH + 1);
    let error = DecodeError::TooDeep { limit: MAX_DEPTH };
    assert_eq!(Decoder::new(limits).decode(&deep), Err(error));
}

#[test]
fn an_error_is_final() {
    let mut decoder = Decoder::new(Limits::default());
    assert_eq!(decoder.decode(b"*2\r\n:x\r\n"), Err(DecodeError::Integer));
    assert_eq!(decoder.decode(b"*2\r\n:x\r\n"), Err(DecodeError::Integer));
    assert_eq!(decoder.decode(b"$4\r\n12.5\r\n"), Err(DecodeError::Integer));
}

#[test]
fn replies_in_a_row_and_what_is_missing() {
    let mut decoder = Decoder::new(Limits::default());
    let input = b"+OK\r\n*2\r\n$5\r\nhello\r\n$12\r\nhello, world\r\n:1\r\n";
    let first = decoder.decode(input);
    assert_eq!(
        first,
        Ok(Some(Decoded {
            reply: Reply::Simple(b"OK"),
            len: 5
        }))
    );

    let rest = &input[5..];
    assert_eq!(decoder.missing(0), 0);
    assert_eq!(decoder.decode(&rest[..9]), Ok(None));
    assert_eq!(decoder.missing(9), 6, "of hello and its CRLF");
    assert_eq!(decoder.decode(&rest[..20]), Ok(None));
    assert_eq!(decoder.missing(20), 14, "of hello, world and its CRLF");
    let second = decoder.decode(rest).map(|it| it.map(|it| it.len));
    assert_eq!(second, Ok(Some(34)));
    assert_eq!(decoder.missing(0), 0);

    let third = decoder.decode(&rest[34..]);
    assert_eq!(
        third,
        Ok(Some(Decoded {
            reply: Reply::Integer(1),
            len: 4
        }))
    );
}

#[test]
fn each_reply_has_its_own_limits() {
    let mut decoder = Decoder::new(TIGHT);
    let full = b"*1\r\n*1\r\n*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n";
    for turn in 0..3 {
        let len = decoder.decode(full).map(|it| it.map(|it| it.len));
        assert_eq!(len, Ok(Some(full.len())), "turn {turn}");
    }
}

#[test]
fn a_buffer_that_shrank_is_waited_for() {
    let mut decoder = Decoder::new(Limits::default());
    assert_eq!(decoder.decode(b"*2\r\n:1\r\n+abcdef"), Ok(None));
    assert_eq!(decoder.decode(b""), Ok(None));
    assert_eq!(decoder.decode(b"*2\r\n:1\r\n+a"), Ok(None));
}

/// Bytes examined per byte of input, in whole numbers rounded up, when `step` bytes come at a time.
fn examined_per_byte(input: &[u8], step: usize) -> usize {
    let mut decoder = Decoder::new(Limits::default());
    let mut cut = 0;
    loop {
        cut = (cut + step).min(input.len());
        match decoder.decode(&input[..cut]) {
            Ok(None) => assert!(cut < input.len(), "incomplete"),
            Ok(Some(decoded)) => {
                assert_eq!(decoded.len, input.len());
                return decoder.examined.div_ceil(input.len());
            }
            Err(error) => unreachable!("{error}"),
        }
    }
}

#[test]
fn cost_is_linear_however_the_bytes_arrive() {
    let line = [b"+".as_slice(), &b"x".repeat(60_000), b"\r\n"].concat();
    let bulk = [b"$60000\r\n".as_slice(), &b"\r".repeat(60_000), b"\r\n"].concat();
    let flat = [b"*20000\r\n".as_slice(), &b":1\r\n".repeat(20_000)].concat();
    let nested = [
        b"*6000\r\n".as_slice(),
        &b"*2\r\n*1\r\n*0\r\n_\r\n".repeat(6_000),
    ]
    .concat();
    // Each byte of a line is looked at once for its end, once for its value; a CRLF that comes in
    // two pieces once more.
    for (name, input) in [
        ("line", line),
        ("bulk", bulk),
        ("flat", flat),
        ("nested", nested),
    ] {
        for step in [1, 2, 3, 1_460, input.len()] {
            let factor = examined_per_byte(&input, step);
            let most = if step == input.len() { 2 } else { 3 };
            assert!(
                factor <= most,
                "{name}, {step} bytes at a time: {factor} for each byte"
            );
        }
    }
}

#[test]
fn waiting_costs_nothing_by_the_length_of_what_is_there() {
    let check = |input: &[u8]| {
        let mut decoder = Decoder::new(Limits::default());
        assert_eq!(decoder.decode(input), Ok(None));
        let before = decoder.examined;
        for _ in 0..100 {
            assert_eq!(decoder.decode(input), Ok(None));
        }
        let again = decoder.examined - before;
        assert!(
            again <= 200,
            "{again} bytes in 100 calls: {}",
            input.escape_ascii()
        );
    };
    check(&[b"+".as_slice(), &[b'x'; 1_000]].concat());
    check(&[b"+".as_slice(), &[b'x'; 1_000], b"\r"].concat());
    check(&[b"$1001\r\n".as_slice(), &[b'x'; 1_000]].concat());
    check(&[b"*1001\r\n".as_slice(), &b":1\r\n".repeat(1_000)].concat());
}
