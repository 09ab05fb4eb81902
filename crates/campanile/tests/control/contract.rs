//! Generated from the service model: for every member its bounds, pattern and values, one step inside and one outside,
//! and that it is required where it is; for every answer that it has the members of the model; for every error that it
//! is one of those the operation lists.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::common::{Answer, Client, TempDir, start};

/// Facts about the operations (names, limits, patterns, errors), derived by script from the public service model.
const MODEL: &str = include_str!("operations.json");

/// What every call needs to be there.
struct Stage {
    client: Client,
    errors: Map<String, Value>,
    count: usize,
    /// What was not as the model says: all of it is shown at the end.
    wrong: Vec<String>,
}

impl Stage {
    /// A request to `operation` that is right, on a meeting and attendees of its own.
    async fn right(&mut self, operation: &str) -> Map<String, Value> {
        self.count += 1;
        let token = format!("stage-{}", self.count);
        let made = self.client.create_meeting(&token).await;
        let ann = self.client.create_attendee(&made, "ann").await["AttendeeId"].clone();
        let account = "111122223333";
        let arn = format!("arn:aws:chime:us-east-1:{account}:meeting/{made}");
        let capabilities = json!({"Audio": "SendReceive", "Video": "SendReceive", "Content": "SendReceive"});
        let transcription = json!({"EngineTranscribeSettings": {"LanguageCode": "en-US"}});
        if operation == "StopMeetingTranscription" {
            let body = json!({"TranscriptionConfiguration": transcription}).to_string();
            let path = format!("/meetings/{made}/transcription?operation=start");
            self.client.call("POST", &path, &body).await.ok();
        }
        let all = json!({
            "MeetingId": made, "AttendeeId": ann, "ResourceARN": arn,
            "ClientRequestToken": format!("{token}-again"), "MediaRegion": "eu-central-1", "ExternalMeetingId": "contract",
            "ExternalUserId": "bob", "Attendees": [{"ExternalUserId": "cid"}], "Capabilities": capabilities,
            "ExcludedAttendeeIds": [{"AttendeeId": ann}], "Tags": [{"Key": "key", "Value": "value"}], "TagKeys": ["key"],
            "TranscriptionConfiguration": transcription,
        });
        all.as_object().unwrap().clone()
    }

    async fn call(&self, operation: &Value, members: &Map<String, Value>) -> Answer {
        let mut path = operation["path"].as_str().unwrap().to_owned();
        let mut query: Vec<String> = operation["fixed_query"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
            .collect();
        let mut body = Map::new();
        for (name, member) in operation["input"].as_object().unwrap() {
            let Some(value) = members.get(name) else { continue };
            let wire = member["wire_name"].as_str().unwrap_or(name);
            let text = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match member["in"].as_str() {
                Some("path") => path = path.replace(&format!("{{{name}}}"), &escape(&text())),
                Some("query") => query.push(format!("{wire}={}", escape(&text()))),
                _ => {
                    body.insert(wire.to_owned(), value.clone());
                }
            }
        }
        let target = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        let has_body = operation["has_body"] == true;
        let body = if has_body { Value::Object(body).to_string() } else { String::new() };
        self.client.call(operation["method"].as_str().unwrap(), &target, &body).await
    }

    /// Accepted as the model says, or refused with an error that the operation lists and whose status is the model's.
    fn check(&mut self, operation: &Value, answer: &Answer, accepted: Option<bool>, what: &str) {
        let name = operation["name"].as_str().unwrap();
        let ok = i64::from(answer.status) == operation["success_status"].as_i64().unwrap();
        if accepted.is_some_and(|accepted| accepted != ok) {
            self.wrong.push(format!("{name}: {what}: {} {}", answer.status, answer.text));
        }
        if !ok {
            let kind = answer.headers["x-amzn-errortype"].as_str();
            let listed = operation["errors"].as_array().unwrap();
            assert!(listed.iter().any(|error| error == kind), "{name} does not list {kind}");
            answer.error(self.errors[kind]["http_status"].as_u64().unwrap() as u16, kind);
        } else if answer.status == 200 {
            let shown = answer.ok();
            for member in shown.as_object().unwrap().keys() {
                assert!(operation["output"].get(member).is_some(), "{name}: the model knows no {member}");
            }
        }
    }
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|c| if c.is_ascii_alphanumeric() { char::from(c).to_string() } else { format!("%{c:02X}") })
        .collect()
}

/// A place in a request: names of members, and numbers of list items.
type Place = Vec<String>;

fn at<'v>(members: &'v mut Map<String, Value>, place: &[String]) -> Option<&'v mut Value> {
    let (first, rest) = place.split_first()?;
    let mut value = members.get_mut(first)?;
    for step in rest {
        value = match value {
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?)?,
            Value::Object(members) => members.entry(step.clone()).or_insert(Value::Null),
            _ => return None,
        };
    }
    Some(value)
}

/// One try: what goes where, and whether it is right as far as the model can tell.
struct Try {
    place: Place,
    value: Option<Value>,
    accepted: Option<bool>,
}

/// What to try for a member and all inside it. Members that are not in a right request are put there to be tried.
fn tries(place: &Place, member: &Value, out: &mut Vec<Try>) {
    let mut add = |value: Option<Value>, accepted: Option<bool>| {
        out.push(Try { place: place.clone(), value, accepted });
    };
    let bound = |name: &str| member[name].as_u64();
    if member["required"] == true && member["in"] != "path" {
        add(None, Some(false));
        if member["in"].is_null() {
            add(Some(Value::Null), Some(false));
        }
    } else if member["in"].is_null() && place.last().is_some_and(|last| last != "0") {
        add(Some(Value::Null), Some(true));
    }
    match member["type"].as_str().unwrap_or_default() {
        "string" => {
            if let Some(values) = member["enum"].as_array() {
                for value in values {
                    // Rules between members may still forbid a value that the model knows.
                    add(Some(value.clone()), None);
                }
                add(Some("NoSuchValue".into()), Some(false));
                add(Some(values[0].as_str().unwrap().to_ascii_lowercase().into()), None);
                return;
            }
            let name = place.last().map_or("", String::as_str);
            let prefix = if name.contains("ARN") || name.ends_with("Arn") { "arn:" } else { "" };
            let text = |length: u64| {
                let rest = (length as usize).saturating_sub(prefix.len());
                // No character four times in a row, and none that a pattern of the model leaves out.
                format!("{prefix}{}", "abc".chars().cycle().take(rest).collect::<String>())
            };
            let fixed = member["pattern"].as_str().is_some_and(|p| p.starts_with("[a-fA-F0-9]{8}"));
            if fixed {
                for wrong in
                    ["x", "0f6d2c5831b74e0a9d147c2a55e92713", "{0f6d2c58-31b7-4e0a-9d14-7c2a55e92713}"]
                {
                    add(Some(wrong.into()), Some(false));
                }
                return;
            }
            // These name something, which a text made up here does not.
            let names = ["MediaRegion", "PrimaryMeetingId", "ResourceARN", "NextToken"].contains(&name);
            let inside = if names { None } else { Some(true) };
            if let Some(min) = bound("min") {
                add(Some(text(min.max(prefix.len() as u64 + 1)).into()), inside);
                if min > 0 {
                    add(Some(text(0).get(..min as usize - 1).unwrap_or("a").into()), Some(false));
                }
            }
            if let Some(max) = bound("max") {
                add(Some(text(max).into()), inside);
                add(Some(text(max + 1).into()), Some(false));
            }
            if member["pattern"].is_string() {
                add(
                    Some(format!("{prefix}\u{1F514}\u{1F514}").into()),
                    if name == "ResourceARN" { None } else { Some(false) },
                );
            }
            if member["in"].is_null() {
                add(Some(7.into()), Some(false));
            }
        }
        "integer" => {
            let (min, max) = (bound("min").unwrap_or(0), bound("max").unwrap_or(u64::MAX / 2));
            // MaxResults of a query is a text on the wire; MaxCount a number.
            add(Some(min.into()), Some(true));
            add(Some(max.into()), Some(true));
            add(Some((min as i64 - 1).into()), Some(false));
            add(Some((max + 1).into()), Some(false));
            add(Some("x".into()), Some(false));
        }
        "boolean" => {
            add(Some("x".into()), Some(false));
        }
        "list" => {
            let item = &member["item"];
            let list = |n: u64| (0..n).map(|n| sample(item, n)).collect::<Vec<_>>();
            if let Some(min) = bound("min").filter(|min| *min > 0) {
                add(Some(list(min).into()), Some(true));
                add(Some(list(min - 1).into()), Some(false));
            }
            if let Some(max) = bound("max") {
                add(Some(list(max).into()), Some(true));
                add(Some(list(max + 1).into()), Some(false));
            }
            add(Some("x".into()), Some(false));
            let first = [place.clone(), vec!["0".into()]].concat();
            tries(&first, item, out);
        }
        "structure" => {
            add(Some("x".into()), Some(false));
            for (name, inner) in member["members"].as_object().unwrap() {
                tries(&[place.clone(), vec![name.clone()]].concat(), inner, out);
            }
        }
        other => panic!("{place:?} has the type {other}"),
    }
}

/// Item number `n` of a list that is right.
fn sample(item: &Value, n: u64) -> Value {
    match item["type"].as_str().unwrap() {
        "string" => format!("item-{n}").into(),
        _ => {
            let members = item["members"].as_object().unwrap();
            let required = members.iter().filter(|(_, member)| member["required"] == true);
            required
                .map(|(name, _)| {
                    let value = match name.as_str() {
                        "AttendeeId" => format!("0f6d2c58-31b7-4e0a-9d14-{n:012x}"),
                        _ => format!("item-{n}"),
                    };
                    (name.clone(), value.into())
                })
                .collect::<Map<_, _>>()
                .into()
        }
    }
}

/// What the model alone cannot tell: rules between members, and values that only look right.
fn beyond_the_model(operation: &str, place: &Place) -> bool {
    let path = place.join(".");
    // `SendReceive` for what the meeting has not, content without video, ... see the registry's own tests.
    path.contains("Capabilities.")
        // Members of either engine exclude each other (the wire crate's own tests).
        || path.starts_with("TranscriptionConfiguration.")
        // High definition needs a low ceiling.
        || path.starts_with("MeetingFeatures.")
        // The tags of a request are held to what the resource may have in all.
        || (operation == "TagResource" && path == "Tags")
        // Attendees that cannot be made are reported, and the call succeeds.
        || (path.starts_with("Attendees.0.ExternalUserId"))
}

#[tokio::test]
async fn every_member_is_held_to_the_model() {
    let directory = TempDir::new();
    let mut config = campanile::config::Config::local(directory.path());
    config.control.quotas.records.meetings_per_account = 100_000;
    let running = campanile::serve(config).await.unwrap();
    let model: Value = serde_json::from_str(MODEL).unwrap();
    let errors = model["errors"].as_object().unwrap().clone();
    let mut stage = Stage { client: Client::of(&running), errors, count: 0, wrong: Vec::new() };
    let (mut done, mut seen) = (0, BTreeSet::new());
    for operation in model["operations"].as_array().unwrap() {
        let name = operation["name"].as_str().unwrap();
        let right = stage.right(name).await;
        let answer = stage.call(operation, &right).await;
        stage.check(operation, &answer, Some(true), "a right request");
        seen.insert(name.to_owned());
        let mut all = Vec::new();
        for (member_name, member) in operation["input"].as_object().unwrap() {
            tries(&vec![member_name.clone()], member, &mut all);
        }
        for one in all {
            let mut members = stage.right(name).await;
            let outermost = one.place[0].clone();
            if !members.contains_key(&outermost) && one.place.len() > 1 {
                let is_list = one.place[1] == "0";
                let empty = if is_list { json!([Value::Null]) } else { json!({}) };
                members.insert(outermost, empty);
            }
            if let (Some(value), 1) = (&one.value, one.place.len()) {
                members.insert(one.place[0].clone(), value.clone());
            } else if let Some(value) = &one.value {
                let Some(place) = at(&mut members, &one.place) else { continue };
                *place = value.clone();
            } else if let Some((last, parents)) = one.place.split_last() {
                match at(&mut members, parents) {
                    Some(Value::Object(parent)) => drop(parent.remove(last)),
                    Some(_) => continue,
                    None => drop(members.remove(last)),
                }
            }
            let answer = stage.call(operation, &members).await;
            let accepted = match one.accepted {
                Some(true) if beyond_the_model(name, &one.place) => None,
                // A batch reports what breaks a rule beside what was made.
                Some(false) if one.place.len() > 2 && one.place[0] == "Attendees" && one.value.is_some() => {
                    None
                }
                other => other,
            };
            let shown =
                one.value.as_ref().map(|value| value.to_string().chars().take(80).collect::<String>());
            stage.check(operation, &answer, accepted, &format!("{} = {shown:?}", one.place.join(".")));
            done += 1;
        }
    }
    assert_eq!(seen.len(), 16);
    assert!(done > 400, "only {done} tries were generated");
    assert!(stage.wrong.is_empty(), "{}", stage.wrong.join("\n"));
    running.stop().await;
}

#[tokio::test]
async fn every_operation_needs_a_signature_and_a_meeting_that_is_there() {
    let directory = TempDir::new();
    let running = start(&directory).await;
    let model: Value = serde_json::from_str(MODEL).unwrap();
    let errors = model["errors"].as_object().unwrap().clone();
    let mut stage = Stage { client: Client::of(&running), errors, count: 0, wrong: Vec::new() };
    for operation in model["operations"].as_array().unwrap() {
        let name = operation["name"].as_str().unwrap();
        let mut members = stage.right(name).await;
        let secret = stage.client.credentials.secret_access_key.clone();
        stage.client.credentials.secret_access_key.push('x');
        stage.call(operation, &members).await.error(403, "InvalidSignatureException");
        stage.client.credentials.secret_access_key = secret;
        let takes = |name: &str| operation["input"].get(name).is_some();
        if !takes("MeetingId") && !takes("ResourceARN") {
            continue;
        }
        let nobody = uuid::Uuid::nil().to_string();
        members.insert(
            "ResourceARN".into(),
            format!("arn:aws:chime:us-east-1:111122223333:meeting/{nobody}").into(),
        );
        members.insert("MeetingId".into(), nobody.into());
        let answer = stage.call(operation, &members).await;
        let kind = if takes("MeetingId") { "NotFoundException" } else { "ResourceNotFoundException" };
        answer.error(404, kind);
        stage.check(operation, &answer, Some(false), "an unknown meeting");
    }
    assert!(stage.wrong.is_empty(), "{}", stage.wrong.join("\n"));
    running.stop().await;
}
