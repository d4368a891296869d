//! KS-08: claims that two readers could read in two ways, and what is no JSON at all (RFC 8259, RFC 7493). Beside each
//! stands the spelling that has one meaning; and what is signed is our own spelling of it.

use proto::v1::Profile::IdToken;
use tonic::Code;

use super::{Make, Row, item, ordinary, refused, sign_one};
use crate::running::ISSUER;

type Spelling = fn(&str) -> Vec<u8>;

/// As it is.
const PLAIN: Spelling = |it| it.into();

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = MALFORMED
        .iter()
        .map(|&(what, attack, control)| Row {
            what: what.to_owned(),
            attack: spelled(attack),
            code: Code::InvalidArgument,
            message: "claims are not one strict JSON object",
            control: spelled(control),
        })
        .collect();
    // Another spelling is the same name, for us as for everybody.
    let (evil, ours) = (
        spelled(|it| it.replace(ISSUER, r"https:\/\/evil.example").into()),
        spelled(|it| it.replace(ISSUER, r"\u0068ttps:\/\/issuer.example").into()),
    );
    rows.push(refused("another issuer, escaped", "issuer", evil, ours));
    let escaped = spelled(|it| it.replace('{', r#"{"\u0061dmin":1,"#).into());
    let known = spelled(|it| it.replace('{', r#"{"n\u0061me":"A","#).into());
    rows.push(refused(
        "another claim, escaped",
        "claims.allowed",
        escaped,
        known,
    ));
    rows
}

/// An ordinary ID token's claims, in another spelling.
fn spelled(spelling: Spelling) -> Make {
    Box::new(move |loot| {
        let (ring, claims) = ordinary(IdToken, loot.now);
        let mut item = item(ring, IdToken, &claims);
        item.claims = spelling(&claims.to_string()).into();
        sign_one(item)
    })
}

fn with(text: &str, members: &str) -> Vec<u8> {
    text.replacen('{', &format!("{{{members},"), 1).into()
}

fn nested(text: &str, levels: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    with(text, &format!("\"address\":{open}1{close}"))
}

fn many(text: &str, count: usize) -> Vec<u8> {
    let members: Vec<String> = (0..count)
        .map(|number| format!("\"m{number}\":1"))
        .collect();
    with(text, &format!("\"address\":{{{}}}", members.join(",")))
}

#[rustfmt::skip]
const MALFORMED: &[(&str, Spelling, Spelling)] = &[
    ("a name twice, ours first", |it| it.replacen(",\"sub\"", ",\"iss\":\"https://evil.example\",\"sub\"", 1).into(), PLAIN),
    ("a name twice, ours last", |it| with(it, "\"iss\":\"https://evil.example\""), PLAIN),
    ("a name twice, once escaped", |it| with(it, "\"\\u0069ss\":\"https://evil.example\""), PLAIN),
    ("a name twice, the same value", |it| with(it, "\"sub\":\"alice\""), PLAIN),
    ("a name twice, inside", |it| with(it, "\"address\":{\"a\":1,\"a\":2}"), |it| with(it, "\"address\":{\"a\":1,\"b\":2}")),
    ("a name twice, in a list", |it| with(it, "\"address\":[{\"a\":1,\"a\":2}]"), |it| with(it, "\"address\":[{\"a\":1},{\"a\":2}]")),
    ("a byte order mark", |it| format!("\u{feff}{it}").into(), |it| format!(" {it}").into()),
    ("in UTF-16", |it| it.encode_utf16().flat_map(u16::to_le_bytes).collect(), PLAIN),
    ("something after it", |it| format!("{it}x").into(), |it| format!("{it}\n").into()),
    ("a second object after it", |it| format!("{it}{{}}").into(), PLAIN),
    ("a zero octet after it", |it| format!("{it}\0").into(), PLAIN),
    ("a JWT", |_| b"eyJhbGciOiJub25lIn0.e30.".to_vec(), PLAIN),
    ("a list of claims", |it| format!("[{it}]").into(), PLAIN),
    ("claims in a string", |it| serde_json::Value::from(it).to_string().into(), PLAIN),
    ("nothing", |_| Vec::new(), PLAIN),
    ("null", |_| b"null".to_vec(), PLAIN),
    ("cut off", |it| it[..it.len() - 1].into(), PLAIN),
    ("a comma too many", |it| it.replace('}', ",}").into(), PLAIN),
    ("no quotes", |it| it.replace("\"sub\"", "sub").into(), PLAIN),
    ("single quotes", |it| it.replace('"', "'").into(), PLAIN),
    ("a comment", |it| it.replacen('{', "{/* */", 1).into(), |it| it.replacen('{', "{ ", 1).into()),
    ("not a number", |it| with(it, "\"name\":NaN"), |it| with(it, "\"name\":0")),
    ("infinite", |it| with(it, "\"name\":Infinity"), PLAIN),
    ("a number without end", |it| with(it, "\"name\":1e999"), |it| with(it, "\"name\":1e99")),
    ("octal", |it| with(it, "\"name\":017"), |it| with(it, "\"name\":17")),
    ("hexadecimal", |it| with(it, "\"name\":0x11"), PLAIN),
    ("no UTF-8", |it| [&b"{\"name\":\"\xff\","[..], &it.as_bytes()[1..]].concat(), |it| with(it, "\"name\":\"\u{ff}\"")),
    ("UTF-8, too long", |it| [&b"{\"name\":\"\xc0\xaf\","[..], &it.as_bytes()[1..]].concat(), |it| with(it, "\"name\":\"/\"")),
    ("half a character", |it| with(it, "\"name\":\"\\ud800\""), |it| with(it, "\"name\":\"\\ud83d\\ude00\"")),
    ("halves in the wrong order", |it| with(it, "\"name\":\"\\ude00\\ud83d\""), PLAIN),
    ("half a character, as a name", |it| with(it, "\"\\udc00\":1"), PLAIN),
    ("a control character", |it| with(it, "\"name\":\"\u{1}\""), |it| with(it, "\"name\":\"\\u0001\"")),
    ("too deep", |it| nested(it, 16), |it| nested(it, 15)),
    ("far too deep", |it| nested(it, 1000), PLAIN),
    ("too many members", |it| many(it, 257), |it| many(it, 100)),
];
