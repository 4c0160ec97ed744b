//! Spans as OTLP has them in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. Ids are hexadecimal there,
//! and integers of 64 bits are texts.

use serde_json::{Value as Json, json};

use crate::{Kind, Resource, Span, Status, Value};

/// One request: all spans are of this resource.
pub(crate) fn request(resource: &Resource, spans: &[Span]) -> Json {
    let of = [
        ("service.name", Value::from(resource.service)),
        ("service.version", Value::from(resource.version.as_str())),
        ("service.instance.id", Value::from(resource.instance.as_str())),
    ];
    json!({
        "resourceSpans": [{
            "resource": { "attributes": of.iter().map(|(name, value)| attribute(name, value)).collect::<Vec<_>>() },
            "scopeSpans": [{
                "scope": { "name": "dunlin", "version": resource.version },
                "spans": spans.iter().map(span).collect::<Vec<_>>(),
            }],
        }],
    })
}

fn span(span: &Span) -> Json {
    let kind = match span.kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    };
    let mut document = json!({
        "traceId": span.trace.to_string(),
        "spanId": span.id.to_string(),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.max(span.start).to_string(),
        "attributes": span.attributes.iter().map(|(name, value)| attribute(name, value)).collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        document["parentSpanId"] = parent.to_string().into();
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => document["status"] = json!({ "code": 1 }),
        Status::Error(message) => document["status"] = json!({ "code": 2, "message": message }),
    }
    document
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Integer(number) => json!({ "intValue": number.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number }),
        Value::Flag(flag) => json!({ "boolValue": flag }),
    };
    json!({ "key": name, "value": value })
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::{SpanId, TraceId};

    use super::*;

    #[test]
    fn spans_are_as_the_protocol_has_them() {
        let resource = Resource { service: "dunlin-agent", version: "1".into(), instance: "ada".into() };
        let spans = [Span {
            trace: TraceId(0xabc),
            id: SpanId(7),
            parent: Some(SpanId(6)),
            name: "prefill".into(),
            kind: Kind::Internal,
            start: 5,
            end: 4,
            attributes: Vec::new(),
            status: Status::Error("no memory".into()),
        }
        .with("tokens", 9_u64)
        .with_some("joules", Some(0.5))
        .with_some("model", None::<String>)
        .with("emulated", true)];
        let document = request(&resource, &spans);
        let span = &document["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        let expected = json!({
            "traceId": "00000000000000000000000000000abc",
            "spanId": "0000000000000007",
            "name": "prefill",
            "kind": 1,
            "startTimeUnixNano": "5",
            // Clocks that go back make nothing shorter than nothing.
            "endTimeUnixNano": "5",
            "attributes": [
                { "key": "tokens", "value": { "intValue": "9" } },
                { "key": "joules", "value": { "doubleValue": 0.5 } },
                { "key": "emulated", "value": { "boolValue": true } },
            ],
            "parentSpanId": "0000000000000006",
            "status": { "code": 2, "message": "no memory" },
        });
        assert_eq!(*span, expected);
        let service = &document["resourceSpans"][0]["resource"]["attributes"][0];
        assert_eq!(*service, json!({ "key": "service.name", "value": { "stringValue": "dunlin-agent" } }));
    }
}
