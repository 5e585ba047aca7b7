use proptest::prelude::*;
use sagebrush_wire::{Member, Operation as _, Shape, sts};
use serde_json::{Value, json};

use super::write::answer;
use super::{Form, TooManyFields, failure, read};
use crate::ApiError;

const TEXT: Shape = Shape::String { min: None, max: None, pattern: None, values: &[] };
const COUNT: Shape = Shape::Integer { min: None, max: None };
const ITEM: Shape = Shape::Structure(&[
    Member { name: "Arn", required: false, shape: &TEXT },
    Member { name: "Count", required: false, shape: &COUNT },
]);
const ITEMS: Shape = Shape::List { member: &ITEM, min: None, max: None };
const TEXTS: Shape = Shape::List { member: &TEXT, min: None, max: None };
const MAP: Shape = Shape::Map { key: &TEXT, value: &COUNT, min: None, max: None };
static SHAPE: Shape = Shape::Structure(&[
    Member { name: "Name", required: false, shape: &TEXT },
    Member { name: "Count", required: false, shape: &COUNT },
    Member { name: "Weight", required: false, shape: &Shape::Float { min: None, max: None } },
    Member { name: "Flag", required: false, shape: &Shape::Boolean },
    Member { name: "At", required: false, shape: &Shape::Timestamp },
    Member { name: "Items", required: false, shape: &ITEMS },
    Member { name: "Texts", required: false, shape: &TEXTS },
    Member { name: "Map", required: false, shape: &MAP },
]);

fn check(form: &str, expected: Value) {
    let form = Form::parse(form.as_bytes()).unwrap();
    assert_eq!(read(&SHAPE, &form).unwrap(), expected, "{form:?}");
}

fn refuse(form: &str, message: &str) {
    let form = Form::parse(form.as_bytes()).unwrap();
    let error = read(&SHAPE, &form).unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("SerializationException", message));
}

#[test]
fn forms_become_values() {
    check("Action=Do&Version=1&Other.1=2", json!({}));
    check(
        "Name=a+b%2B%C3%A9&Count=-1&Weight=1e3&Flag=true",
        json!({ "Name": "a b+é", "Count": -1, "Weight": 1000.0, "Flag": true }),
    );
    check("Weight=nan", json!({ "Weight": "NaN" })); // To be refused by its path.
    check("Name=1&Name2=", json!({ "Name": "1" }));
    check("At=2015-08-30T12:36:00Z", json!({ "At": 1_440_938_160.0 }));
    check("At=1440938160.5", json!({ "At": 1_440_938_160.5 }));
    check(
        "Texts.member.2=b&Texts.member.10=c&Texts.member.1=a",
        json!({ "Texts": ["a", "b", "c"] }),
    );
    check("Texts.1=a&Texts.2=b", json!({ "Texts": ["a", "b"] }));
    check("Texts=", json!({ "Texts": [] }));
    check(
        "Items.member.1.Arn=x&Items.member.1.Count=3&Items.member.2.Arn=y",
        json!({ "Items": [{ "Arn": "x", "Count": 3 }, { "Arn": "y" }] }),
    );
    check(
        "Map.entry.1.key=a&Map.entry.1.value=1&Map.entry.2.key=b&Map.entry.2.value=2",
        json!({ "Map": { "a": 1, "b": 2 } }),
    );
    check("Map.entry.1.Name=a&Map.entry.1.Value=1", json!({ "Map": { "a": 1 } }));
}

#[test]
fn bad_forms_are_refused() {
    refuse("Name=1&Name=2", "A field stands twice");
    refuse("Count=one", "A field has a value of another type");
    refuse("Count=1.5", "A field has a value of another type");
    refuse("Weight=much", "A field has a value of another type");
    refuse("Flag=yes", "A field has a value of another type");
    refuse("Map.entry.1.value=1", "An entry of a map has no key");
    refuse(&vec!["a"; 40].join("."), "A field is nested too deep");
    assert_eq!(Form::parse("a&".repeat(50_001).as_bytes()), Err(TooManyFields));
}

#[test]
fn values_become_xml() {
    let output = json!({
        "Name": "<a> & \"b\" 'c'\r\n\u{0}", "Count": 3, "Weight": 0.5, "Flag": false,
        "At": 1_440_938_160.25, "Items": [{ "Arn": "x" }, {}], "Texts": [], "Map": { "k": 1 },
        "NotInTheModel": 1,
    });
    let xml = answer("Do", "https://sts.amazonaws.com/doc/2011-06-15/", &SHAPE, &output, "id-1");
    insta::assert_snapshot!(xml.replace("><", ">\n<"), @r##"
    <DoResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
    <DoResult>
    <Name>&lt;a&gt; &amp; &quot;b&quot; &apos;c&apos;&#xD;
    �</Name>
    <Count>3</Count>
    <Weight>0.5</Weight>
    <Flag>false</Flag>
    <At>2015-08-30T12:36:00.250Z</At>
    <Items>
    <member>
    <Arn>x</Arn>
    </member>
    <member>
    </member>
    </Items>
    <Texts>
    </Texts>
    <Map>
    <entry>
    <key>k</key>
    <value>1</value>
    </entry>
    </Map>
    </DoResult>
    <ResponseMetadata>
    <RequestId>id-1</RequestId>
    </ResponseMetadata>
    </DoResponse>
    "##);
}

#[test]
fn errors_have_the_names_of_the_query_protocol() {
    let check = |error: ApiError, code: &str, fault: &str| {
        let response = failure(&error, "id");
        let (parts, body) = response.into_parts();
        assert_eq!(
            (parts.status, &parts.headers["x-amzn-requestid"]),
            (error.status, &"id".parse().unwrap())
        );
        let expected = format!(
            "<ErrorResponse><Error><Type>{fault}</Type><Code>{code}</Code><Message>a &lt; b</Message></Error><RequestId>id</RequestId></ErrorResponse>"
        );
        assert!(
            format!("{body:?}").contains(&format!("{expected:?}")[1..expected.len()]),
            "{body:?}"
        );
    };
    check(ApiError::validation("a < b"), "ValidationError", "Sender");
    check(ApiError::serialization("a < b"), "MalformedInput", "Sender");
    check(
        ApiError::new("NoSuchEntity", http::StatusCode::NOT_FOUND, "a < b"),
        "NoSuchEntity",
        "Sender",
    );
    check(ApiError::new("X", http::StatusCode::SERVICE_UNAVAILABLE, "a < b"), "X", "Receiver");
}

proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>) {
        if let Ok(form) = Form::parse(&bytes) {
            drop(read(sts::AssumeRole::input_shape(), &form));
            drop(read(&SHAPE, &form));
        }
    }

    #[test]
    fn never_panics_on_likely_fields(fields in prop::collection::vec("(Name|Count|Flag|At|Items|Texts|Map)([.](member|entry|key|value|Arn|0|1|2|99999999999)){0,5}=[a1.%+-]{0,3}", 0..8)) {
        if let Ok(form) = Form::parse(fields.join("&").as_bytes()) {
            drop(read(&SHAPE, &form));
        }
    }

    #[test]
    fn text_survives_the_way_through_xml(name: String) {
        let xml = answer("Do", "n", &SHAPE, &json!({ "Name": name }), "id");
        let text = xml.split_once("<Name>").unwrap().1.rsplit_once("</Name>").unwrap().0;
        let read = quick_xml::escape::unescape(text).unwrap();
        let expected: String = name.chars().map(|letter| match letter {
            '\r' | '\n' | '\t' => letter,
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
            _ => letter,
        }).collect();
        prop_assert_eq!(read, expected);
    }
}
